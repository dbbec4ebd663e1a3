"""Questions in Arrow columns: read one at a time, so that a split need not fit in memory."""

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
from medtune.core.run_folder import disk_errors, write_atomic

FIELDS = ("id", "stem", "options", "answer", "subject", "topic", "explanation", "group")
ROWS_PER_BATCH = 4096
SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("stem", pyarrow.string()),
        ("options", pyarrow.list_(pyarrow.string())),
        ("answer", pyarrow.int8()),
        *((name, pyarrow.string()) for name in FIELDS[4:]),
    ]
)
Rows = NDArray[np.int64]


class QuestionTable(Sequence[Question]):
    """Questions over Arrow columns, in memory or mapped from a file.

    A question is made when it is asked for; choosing some of them copies no text.
    """

    def __init__(
        self, table: pyarrow.Table, answers: Rows | None = None, rows: Rows | None = None
    ) -> None:
        """Wrap a table.

        Args:
            table: One row per question, as `SCHEMA`; without `answer` where `answers` has it.
            answers: Per row of the table the right option's index, -1 for none.
            rows: Which rows, in which order; None takes all.
        """
        self._table = table
        self._answers = answers
        self._rows = np.arange(table.num_rows) if rows is None else rows
        names = [name for name in FIELDS if answers is None or name != "answer"]
        self._columns = {name: table.column(name) for name in names}

    @classmethod
    def of(cls, questions: Iterable[Question]) -> QuestionTable:
        """Hold questions in memory."""
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
        return _question(cells, self._answer(row, cells))

    def __iter__(self) -> Iterator[Question]:
        """Read in batches: faster than one row at a time."""
        for start in range(0, len(self._rows), ROWS_PER_BATCH):
            rows = self._rows[start : start + ROWS_PER_BATCH]
            for row, cells in zip(rows, self._table.take(rows).to_pylist(), strict=True):
                yield _question(cells, self._answer(int(row), cells))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to any sequence of equal questions

    def take(self, places: Sequence[int] | Rows) -> QuestionTable:
        """Choose questions by their place in this table, in the order given."""
        rows = self._rows[np.asarray(places, dtype=np.int64)]
        return QuestionTable(self._table, self._answers, rows)

    def texts(self, name: str) -> list[str | None]:
        """Read one column of texts."""
        return [str(v) if v is not None else None for v in self._column(name).to_pylist()]

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [str(name) for name in self._column("id").to_pylist()]

    @property
    def answers(self) -> Rows:
        """Per question the right option's index, -1 for none."""
        if self._answers is not None:
            return self._answers[self._rows]
        filled = self._column("answer").fill_null(-1)
        return np.asarray(filled.to_numpy(), dtype=np.int64)

    def _column(self, name: str) -> pyarrow.ChunkedArray:
        return self._columns[name].take(pyarrow.array(self._rows))

    def _rows_at(self, index: slice) -> Rows:
        return np.arange(len(self._rows))[index]

    def _answer(self, row: int, cells: dict[str, Any]) -> int | None:
        if self._answers is None:
            return cells["answer"]  # type: ignore[no-any-return]
        answer = int(self._answers[row])
        return None if answer < 0 else answer


class TableWriter:
    """Writes rows batch by batch into an Arrow file, or into memory where no path is given.

    Use it in a `with`, so that the file is closed whatever happens to the rows.
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
        # What went wrong before is told, not that the rest cannot be written either.
        with suppress(OSError) if kind else disk_errors(self._path or Path()):
            self._sink.close()

    def add(self, cells: dict[str, Any]) -> None:
        """Add one row: every field of a question but the answer."""
        self._batch.append(cells)
        if len(self._batch) >= ROWS_PER_BATCH:
            self._flush()

    def finish(self) -> pyarrow.Table:
        """Close, and read back without copying."""
        self._flush()
        with disk_errors(self._path or Path()):
            self._writer.close()
            if isinstance(self._sink, pyarrow.BufferOutputStream):
                return pyarrow.ipc.open_file(self._sink.getvalue()).read_all()
            self._sink.close()
        assert self._path is not None
        return pyarrow.ipc.open_file(pyarrow.memory_map(str(self._path))).read_all()

    def _flush(self) -> None:
        if self._batch:
            with disk_errors(self._path or Path()):
                self._writer.write_batch(
                    pyarrow.RecordBatch.from_pylist(self._batch, schema=self._schema)
                )
            self._batch = []


def questions_hash(questions: Iterable[Question]) -> str:
    """Hash questions in order: sha256 over their canonical JSON lines, 64 hex digits.

    It depends on nothing but their content: not on the machine, the file format or its version.
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
        FolderError: The place cannot be written; nothing is left behind.
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
    """Read what `write_parquet` wrote.

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


def _question(cells: dict[str, Any], answer: int | None) -> Question:
    return Question(**{**cells, "answer": answer})
