"""Clean rows into questions: the data contract.

A fault of the file (a missing column, a label outside the options, an unknown label base, one id
for two questions) is an error.  A fault of one row (an empty or repeated option, a picture, no
label) excludes that row with a reason.  Rows are streamed; memory does not grow with their texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medtune.core.errors import ColumnError, DataError, EmptySplitError
from medtune.core.experiment import ColumnMapping
from medtune.core.progress import ProgressTask
from medtune.core.records import (
    LETTERS,
    MAX_OPTIONS,
    MIN_OPTIONS,
    content_hash,
    normalize_option,
)
from medtune.data.arrow_table import QuestionTable, store_rows
from medtune.data.cleaning.labels import AnswerCell, AnswerColumn
from medtune.data.cleaning.normalize_text import (
    clean_text,
    contains_image,
    has_damaged_encoding,
    shorten_for_message,
)
from medtune.data.cleaning.options import (
    names_several_options,
    split_options,
    strip_answer_mark,
    strip_option_marks,
)
from medtune.data.sources.files import LocatedRow, RawRow

_OPTIONAL = ("id", "subject", "topic", "explanation", "group", "context")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Questions that satisfy the data contract, with the exclusions."""

    questions: QuestionTable
    excluded: tuple[tuple[str, str], ...]
    """(position or id, reason) of every excluded row."""
    answer_base: int | None
    """Whether indices counted from 0 or 1; None where answers were letters or texts."""
    normalised: dict[str, int]
    """Changed cells by kind of change; "damaged encoding" is only counted, not repaired."""
    rows: int

    @property
    def exclusion_counts(self) -> dict[str, int]:
        """Number of excluded rows by reason."""
        return dict(Counter(reason for _, reason in self.excluded).most_common())


def clean_rows(
    rows: Iterable[LocatedRow],
    columns: ColumnMapping,
    source: str,
    need_labels: bool = True,
    store: Path | None = None,
    task: ProgressTask | None = None,
) -> Cleaned:
    """Clean rows by the data contract.

    With `need_labels`, rows whose label is not released are excluded.  The questions are kept in
    the Arrow file `store`, or in memory without one.

    Raises:
        ColumnError: A column of the mapping is missing.
        LabelError: An answer lies outside the options, or the index base is ambiguous.
        DataError: One id belongs to two different questions.
        EmptySplitError: No row is left.
    """
    work = _RowCleaner(columns, source, task)
    table = store_rows(work.valid_rows(rows), store)
    # Excluded rows are not used to detect the form of the labels.
    answers, base = work.answers.resolve_answers()
    kept: list[int] = []
    stays: dict[int, int] = {}  # first row of an id -> kept row of that id
    for row, (place, own, twin) in enumerate(work.names):
        first = row if twin is None else twin
        if answers[row] < 0 and need_labels:
            work.excluded.append((own or place, "no label"))
        elif first in stays:
            both = answers[row], answers[stays[first]]
            if min(both) >= 0 and both[0] != both[1]:
                raise work.duplicate_id_error(own, place)
            work.excluded.append((f"{own} ({place})", "id seen before"))
        else:
            stays[first] = row
            kept.append(row)
    cleaned = Cleaned(
        questions=QuestionTable(table, answers, np.array(kept, dtype=np.int64)),
        excluded=tuple(work.excluded),
        answer_base=base,
        normalised=dict(work.changes),
        rows=work.rows,
    )
    if not kept:
        raise EmptySplitError(
            f"{source}: none of {work.rows} rows is a usable question"
            + "".join(
                f"; {count} × {reason}" for reason, count in cleaned.exclusion_counts.items()
            ),
            expected="a stem, 2 to 10 different options, and an answer in each row",
            fix="check the column mapping under [data.columns]",
        )
    return cleaned


@dataclass(slots=True)
class _RowCleaner:
    """State of cleaning the rows of one source."""

    columns: ColumnMapping
    source: str
    task: ProgressTask | None
    answers: AnswerColumn = field(init=False)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    names: list[tuple[str, str | None, int | None]] = field(default_factory=list)
    """For each valid row: its position, its own id, and the earlier row of the same question."""
    rows: int = 0
    _seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _made: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.answers = AnswerColumn(self.columns, self.source)

    def valid_rows(self, rows: Iterable[LocatedRow]) -> Iterator[dict[str, Any]]:
        """Yield the cells of every valid row; its answer is added to the answer column."""
        for place, row in rows:
            if not self.rows:
                check_columns(row, self.columns, self.source)
            self.rows += 1
            if self.task:
                self.task.advance()
            stem = self._read_stem(row)
            cells = get_option_cells(row, self.columns)
            texts = [clean_text(cell, self.changes) for cell in cells]
            while texts and not texts[-1]:
                texts.pop()  # drop absent options at the end (three-option rows)
            if (bare := strip_option_marks(texts)) is not None:
                self.changes["letters before options"] += len(texts)
                texts = bare
            own = self._read_optional(row, self.columns.id)
            answer = get_cell(row, self.columns.answer)
            if bare is not None or len(self.columns.options) == 1:
                answer = strip_answer_mark(answer, texts)
            seen = [get_cell(row, self.columns.stem), *self._read_context(row), *cells]
            picture = any(map(contains_image, seen))
            reason = _find_row_fault(stem, texts, picture)
            if not reason and names_several_options(answer, texts):
                reason = "several right answers"
            if reason:
                self.excluded.append((own or place, reason))
                continue
            self.changes["damaged encoding"] += has_damaged_encoding("\n".join([stem, *texts]))
            self.answers.add(AnswerCell(place, answer, texts))
            yield {
                "id": self._question_id(own, place, stem, texts),
                "stem": stem,
                "options": texts,
                **{
                    name: self._read_optional(row, getattr(self.columns, name))
                    for name in ("subject", "topic", "explanation", "group")
                },
            }
        self.changes = +self.changes  # drop kinds with a count of 0

    def duplicate_id_error(self, own: str | None, place: str) -> DataError:
        """Return the error for an id with two different questions."""
        return DataError(
            f"{self.source}: the id {own} belongs to two different questions, the second in "
            f"{place}",
            expected="one id per question, in all files of a source together",
            fix='make the ids unique, or leave them out (id = "" under [data.columns]): '
            "questions are then named by their content",
        )

    def _question_id(self, own: str | None, place: str, stem: str, texts: list[str]) -> str:
        content = content_hash([stem, texts])
        row = len(self.names)
        if own is None:
            # Repeated questions are kept here; deduplication decides on them later.
            self._made[content] += 1
            number = self._made[content]
            self.names.append((place, None, None))
            return f"row-{content[:16]}" + (f"-{number}" if number > 1 else "")
        digest = bytes.fromhex(content[:16])
        twin, known = self._seen.setdefault(own, (row, digest))
        if known != digest:
            raise self.duplicate_id_error(own, place)
        self.names.append((place, own, None if twin == row else twin))
        return own

    def _read_stem(self, row: RawRow) -> str:
        stem = clean_text(get_cell(row, self.columns.stem), self.changes)
        if not stem or not self.columns.context:
            return stem
        parts = [clean_text(part, self.changes) for part in self._read_context(row)]
        return "\n".join(text for text in [*parts, stem] if text)

    def _read_context(self, row: RawRow) -> list[Any]:
        """Return the context before the stem as a list of texts."""
        passage = get_cell(row, self.columns.context) if self.columns.context else None
        return passage if isinstance(passage, list) else [passage]

    def _read_optional(self, row: RawRow, column: str) -> str | None:
        """Return an optional text; column "" means none, even if a CSV has a nameless column."""
        return clean_text(get_cell(row, column), self.changes) or None if column else None


def get_cell(row: RawRow, column: str) -> Any:
    """Return a cell; dots access nested cells ("data.Options")."""
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def check_columns(row: RawRow, columns: ColumnMapping, source: str) -> None:
    """Check that the columns of a mapping exist and hold texts.

    Raises:
        ColumnError: Columns are missing, or one holds tables where texts are needed.
    """
    options = () if columns.fixed_options else columns.options
    required = [columns.stem, *options, columns.answer]
    plain = ColumnMapping()
    named = [getattr(columns, k) for k in _OPTIONAL if getattr(columns, k) != getattr(plain, k)]
    missing = [name for name in [*required, *named] if name and not _has_column(row, name)]
    if missing:
        raise ColumnError(
            f"{source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, row))}",
            expected=f"{', '.join(required)}",
            fix="map your columns with --map stem=... --map options=a,b,c,d --map answer=..., "
            "in an experiment under [data.columns], in Python with columns={'stem': ...}; "
            "`medtune prepare --inspect FILE` proposes a mapping",
        )
    _check_texts(row, columns, source)


def get_option_cells(row: RawRow, columns: ColumnMapping) -> list[Any]:
    """Return a row's raw options, from one column each or from one list."""
    if columns.fixed_options:
        return list(columns.fixed_options)
    if len(columns.options) > 1:
        return [get_cell(row, name) for name in columns.options]
    return parse_option_list(get_cell(row, columns.options[0]))


def parse_option_list(value: Any) -> list[Any]:
    """Parse the options in one cell.

    Accepted are a text ("(a) x (b) y", a JSON list), a list of texts, {key: text}, [{key, value}]
    as in MedQA, [{label, text}] as in ARC, and the pairs of an Arrow map.  If the keys are letters
    or numbers, they determine the order of the options, and a missing key leaves an empty option.
    """
    if isinstance(value, dict):
        return _order_by_key(list(value), list(value.values()))
    if isinstance(value, str):
        return split_options(value) or [value]
    if not isinstance(value, list):
        return [value]
    if value and all(isinstance(item, tuple) for item in value):
        return _order_by_key([item[0] for item in value], [item[1] for item in value])
    for key, text in (("key", "value"), ("label", "text")):
        if value and all(isinstance(item, dict) and text in item for item in value):
            keys = [item.get(key, n) for n, item in enumerate(value)]
            return _order_by_key(keys, [item[text] for item in value])
    return list(value)


def _order_by_key(keys: Sequence[object], texts: Sequence[Any]) -> list[Any]:
    names = [str(key).strip().upper() for key in keys]
    if len(set(names)) < len(names):
        return [None, *texts]  # ambiguous keys; the row is excluded with "empty option"
    at = dict(zip(names, texts, strict=True))
    if names and all(len(name) == 1 and name in LETTERS for name in names):
        return [at.get(letter) for letter in LETTERS[: LETTERS.index(max(names)) + 1]]
    if names and all(re.fullmatch(r"[0-9]|10", name) for name in names):
        return [at.get(str(n)) for n in range("0" not in names, max(map(int, names)) + 1)]
    return list(texts)


def _check_texts(row: RawRow, columns: ColumnMapping, source: str) -> None:
    """Check that text columns hold no tables, which Python would convert to text."""
    passage = get_cell(row, columns.context) if columns.context else None
    parts = passage if isinstance(passage, list) else [passage]
    cells = {columns.stem: [get_cell(row, columns.stem)], columns.context: parts}
    if not columns.fixed_options:
        cells[", ".join(columns.options)] = get_option_cells(row, columns)
    for name, values in cells.items():
        nested = next((value for value in values if isinstance(value, dict | list)), None)
        if nested is not None:
            raise ColumnError(
                f"{source}: {name} holds a {'table' if isinstance(nested, dict) else 'list'} "
                f"where a text is expected: {shorten_for_message(nested)}",
                expected="texts, or for options a list of texts",
                fix='name the part that you mean with dots, such as options = ["choices.text"]',
            )


def _has_column(row: RawRow, column: str) -> bool:
    if column in row:
        return True
    value: Any = row
    for part in column.split("."):
        if value is None:
            return True  # the table is absent from this row
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _find_row_fault(stem: str, options: Sequence[str], picture: bool) -> str:
    """Return the fault of a row; "" if there is none."""
    faults = {
        "needs a picture": picture,
        "empty stem": not stem,
        "fewer than 2 options": len(options) < MIN_OPTIONS,
        "more than 10 options": len(options) > MAX_OPTIONS,
        "empty option": not all(options),
        "duplicate options": len({normalize_option(text) for text in options}) < len(options),
    }
    return next((name for name, found in faults.items() if found), "")
