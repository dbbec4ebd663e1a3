"""Questions in Arrow columns, decoded one at a time, so that a split need not fit in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self, overload

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from medtune.core.errors import DataError
from medtune.core.records import Question
from medtune.core.run_folder import translate_disk_errors, write_atomic

QUESTION_FIELDS = ("id", "stem", "options", "answer", "subject", "topic", "explanation", "group")
ROWS_PER_BATCH = 4096
SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("stem", pyarrow.string()),
        ("options", pyarrow.list_(pyarrow.string())),
        ("answer", pyarrow.int8()),
        *((name, pyarrow.string()) for name in QUESTION_FIELDS[4:]),
    ]
)
RowIndices = NDArray[np.int64]


class QuestionTable(Sequence[Question]):
    """A sequence of questions over Arrow columns, in memory or memory-mapped from a file.

    Questions are decoded on access; selecting a subset copies no text.
    """

    def __init__(
        self,
        table: pyarrow.Table,
        answers: RowIndices | None = None,
        rows: RowIndices | None = None,
    ) -> None:
        """Wrap a table.

        Args:
            table: One row per question, as `SCHEMA`; without `answer` where `answers` has it.
            answers: Index of the right option for each row of the table, -1 for none.
            rows: Indices of the selected rows, in order; None selects all.
        """
        self._table = table
        self._answers = answers
        self._rows = np.arange(table.num_rows) if rows is None else rows
        names = [name for name in QUESTION_FIELDS if answers is None or name != "answer"]
        self._columns = {name: table.column(name) for name in names}

    @classmethod
    def from_questions(cls, questions: Iterable[Question]) -> QuestionTable:
        """Make a table in memory."""
        return cls(_as_table(questions))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Question: ...
    @overload
    def __getitem__(self, index: slice) -> QuestionTable: ...
    def __getitem__(self, index: int | slice) -> Question | QuestionTable:
        if isinstance(index, slice):
            return self.take(self._rows_at(index))
        row = int(self._rows[index])
        cells = {name: column[row].as_py() for name, column in self._columns.items()}
        return _make_question(cells, self._answer(row, cells))

    def __iter__(self) -> Iterator[Question]:
        """Iterate in batches, which is faster than row by row."""
        for start in range(0, len(self._rows), ROWS_PER_BATCH):
            rows = self._rows[start : start + ROWS_PER_BATCH]
            for row, cells in zip(rows, self._table.take(rows).to_pylist(), strict=True):
                yield _make_question(cells, self._answer(int(row), cells))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to any sequence of equal questions

    def take(self, places: Sequence[int] | RowIndices) -> QuestionTable:
        """Select questions by their indices in this table, in the given order."""
        rows = self._rows[np.asarray(places, dtype=np.int64)]
        return QuestionTable(self._table, self._answers, rows)

    def read_column(self, name: str) -> list[str | None]:
        """Return one column of texts."""
        return [str(v) if v is not None else None for v in self._column(name).to_pylist()]

    @property
    def ids(self) -> list[str]:
        """Ids of the questions."""
        return [str(name) for name in self._column("id").to_pylist()]

    @property
    def answers(self) -> RowIndices:
        """Index of each question's right option, -1 for none."""
        if self._answers is not None:
            return self._answers[self._rows]
        filled = self._column("answer").fill_null(-1)
        return np.asarray(filled.to_numpy(), dtype=np.int64)

    def _column(self, name: str) -> pyarrow.ChunkedArray:
        return self._columns[name].take(pyarrow.array(self._rows))

    def _rows_at(self, index: slice) -> RowIndices:
        return np.arange(len(self._rows))[index]

    def _answer(self, row: int, cells: dict[str, Any]) -> int | None:
        if self._answers is None:
            return cells["answer"]  # type: ignore[no-any-return]
        answer = int(self._answers[row])
        return None if answer < 0 else answer


class TableWriter:
    """A writer of rows in batches to an Arrow file, or to memory without a path.

    Use it as a context manager, so that the file is always closed.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._sink: IO[bytes] | pyarrow.BufferOutputStream
        self._sink = path.open("wb") if path else pyarrow.BufferOutputStream()
        self._schema = SCHEMA.remove(SCHEMA.get_field_index("answer"))
        self._writer = pyarrow.ipc.new_file(self._sink, self._schema)
        self._batch: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An earlier error must not be hidden by a failure to close the file.
        with suppress(OSError) if kind else translate_disk_errors(self._path or Path()):
            self._sink.close()

    def add(self, cells: dict[str, Any]) -> None:
        """Add one row: all fields of a question except the answer."""
        self._batch.append(cells)
        if len(self._batch) >= ROWS_PER_BATCH:
            self._flush()

    def finish(self) -> pyarrow.Table:
        """Close the file and return its table without copying."""
        self._flush()
        with translate_disk_errors(self._path or Path()):
            self._writer.close()
            if isinstance(self._sink, pyarrow.BufferOutputStream):
                return pyarrow.ipc.open_file(self._sink.getvalue()).read_all()
            self._sink.close()
        assert self._path is not None
        return pyarrow.ipc.open_file(pyarrow.memory_map(str(self._path))).read_all()

    def _flush(self) -> None:
        if self._batch:
            with translate_disk_errors(self._path or Path()):
                self._writer.write_batch(
                    pyarrow.RecordBatch.from_pylist(self._batch, schema=self._schema)
                )
            self._batch = []


def questions_hash(questions: Iterable[Question]) -> str:
    """Hash questions in order: sha256 over their canonical JSON lines, 64 hex digits.

    The hash depends on their content only, not on the machine or the file format.
    """
    digest = hashlib.sha256()
    for question in questions:
        line = json.dumps(
            question.model_dump(mode="json"),
            ensure_ascii=False,
            sort_keys=True,
            separators=(",", ":"),
        )
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()


def write_parquet(questions: Iterable[Question], path: Path) -> None:
    """Write questions as parquet, one column per field, batch by batch.

    Raises:
        FolderError: The file cannot be written; no temporary file is left.
    """

    def write(handle: IO[bytes]) -> None:
        with pyarrow.parquet.ParquetWriter(handle, SCHEMA, compression="zstd") as writer:
            batch: list[Question] = []
            for question in questions:
                batch.append(question)
                if len(batch) == ROWS_PER_BATCH:
                    writer.write_table(_as_table(batch))
                    batch = []
            writer.write_table(_as_table(batch))

    write_atomic(path, write)


def read_parquet(path: Path) -> QuestionTable:
    """Read questions written by `write_parquet`.

    Raises:
        DataError: The file is missing, damaged, or holds something else.
    """
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as parquet: {error}",
            expected="a split as medtune wrote it",
            fix="prepare the data again",
        ) from error
    if table.schema.names != SCHEMA.names:
        raise DataError(
            f"{path} has the columns {', '.join(table.schema.names)}",
            expected=", ".join(SCHEMA.names),
        )
    return QuestionTable(table)


def _as_table(questions: Iterable[Question]) -> pyarrow.Table:
    return pyarrow.Table.from_pylist([q.model_dump(mode="json") for q in questions], schema=SCHEMA)


def _make_question(cells: dict[str, Any], answer: int | None) -> Question:
    return Question(**{**cells, "answer": answer})
