"""Questions in Arrow columns, decoded one at a time, so that a split need not fit in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from medtune.core.errors import DataError
from medtune.core.records import Question, canonical_json
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
            return self.take(np.arange(len(self))[index])
        row = int(self._rows[index])
        cells = {name: column[row].as_py() for name, column in self._columns.items()}
        return self._make_question(row, cells)

    def __iter__(self) -> Iterator[Question]:
        """Iterate in batches, which is faster than row by row."""
        for start in range(0, len(self._rows), ROWS_PER_BATCH):
            rows = self._rows[start : start + ROWS_PER_BATCH]
            for row, cells in zip(rows, self._table.take(rows).to_pylist(), strict=True):
                yield self._make_question(int(row), cells)

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

    def _make_question(self, row: int, cells: dict[str, Any]) -> Question:
        if self._answers is not None:
            answer = int(self._answers[row])
            cells["answer"] = None if answer < 0 else answer
        return Question(**cells)


def store_rows(rows: Iterable[dict[str, Any]], path: Path | None) -> pyarrow.Table:
    """Write rows in batches to an Arrow file, or to memory without a path.

    Args:
        rows: All fields of each question except the answer.
        path: The file; the returned table is mapped from it.

    Raises:
        FolderError: The file cannot be written.
    """
    schema = SCHEMA.remove(SCHEMA.get_field_index("answer"))
    source, place = iter(rows), path or Path()
    sink: IO[bytes] | pyarrow.BufferOutputStream
    sink = path.open("wb") if path else pyarrow.BufferOutputStream()
    try:
        writer = pyarrow.ipc.new_file(sink, schema)
        while batch := list(islice(source, ROWS_PER_BATCH)):
            with translate_disk_errors(place):
                writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))
        with translate_disk_errors(place):
            writer.close()
            if isinstance(sink, pyarrow.BufferOutputStream):
                return pyarrow.ipc.open_file(sink.getvalue()).read_all()
            sink.close()
    finally:
        with suppress(OSError):  # an earlier error must not be hidden by this one
            sink.close()
    return pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()


def questions_hash(questions: Iterable[Question]) -> str:
    """Hash questions in order: sha256 over their canonical JSON lines, 64 hex digits.

    The hash depends on their content only, not on the machine or the file format.
    """
    digest = hashlib.sha256()
    for question in questions:
        digest.update(f"{canonical_json(question.model_dump(mode='json'))}\n".encode())
    return digest.hexdigest()


def write_parquet(questions: Iterable[Question], path: Path) -> None:
    """Write questions as parquet, one column per field, batch by batch.

    Raises:
        FolderError: The file cannot be written; no temporary file is left.
    """
    source = iter(questions)

    def write(handle: IO[bytes]) -> None:
        with pyarrow.parquet.ParquetWriter(handle, SCHEMA, compression="zstd") as writer:
            while batch := list(islice(source, ROWS_PER_BATCH)):
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
