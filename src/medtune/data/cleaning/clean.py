"""From rows to questions: the data contract.

A fault of the file (a missing column, a label outside the options, an unknown label base, one id
for two questions) is an error: going on would guess.  A fault of one row (an empty or repeated
option, a picture, no label) leaves that row out, with its reason.  Rows go by one at a time; what
is kept of them in memory does not grow with their texts.
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
    normalized_option,
)
from medtune.data.arrow_table import QuestionTable, TableWriter
from medtune.data.cleaning.labels import AnswerColumn, Labelled
from medtune.data.cleaning.normalize_text import damaged, shortened, shows_image, tidy
from medtune.data.cleaning.options import options_in, plain_answer, several, unmarked
from medtune.data.sources.files import Located, Row

_OPTIONAL = ("id", "subject", "topic", "explanation", "group", "context")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What the contract let through."""

    questions: QuestionTable
    excluded: tuple[tuple[str, str], ...]
    """(place or id, reason) of every row left out."""
    answer_base: int | None
    """Whether indices counted from 0 or 1; None where answers were letters or texts."""
    normalised: dict[str, int]
    """Cells changed, by kind of change; "damaged encoding" is only counted, not mended."""
    rows: int
    """How many were read."""

    @property
    def reasons(self) -> dict[str, int]:
        """Count the rows left out, by reason."""
        return dict(Counter(reason for _, reason in self.excluded).most_common())


def clean(
    rows: Iterable[Located],
    columns: ColumnMapping,
    source: str,
    need_labels: bool = True,
    store: Path | None = None,
    task: ProgressTask | None = None,
) -> Cleaned:
    """Apply the data contract.

    Args:
        rows: (place, row), as `read_rows` yields them.
        columns: Which column holds what.
        source: Name of the data, for messages.
        need_labels: Leave out rows whose label is not released.
        store: Arrow file to keep the questions in; None keeps them in memory.
        task: A bar that advances by one per row.

    Raises:
        ColumnError: A column of the mapping is missing.
        LabelError: An answer lies outside the options, or its base cannot be told.
        DataError: One id stands for two different questions.
        EmptySplitError: No row is left.
    """
    work = _Cleaning(columns, source)
    with TableWriter(store) as writer:
        for cells in work.sound(_watched(rows, task) if task else rows):
            writer.add(cells)
        table = writer.finish()
    # A row that is left out anyway tells nothing about the others' labels.
    answers, base = work.answers.finish()
    kept: list[int] = []
    stays: dict[int, int] = {}  # first row of an id -> the row of that id that is kept
    for row, (place, own, twin) in enumerate(work.names):
        first = row if twin is None else twin
        if answers[row] < 0 and need_labels:
            work.excluded.append((own or place, "no label"))
        elif first in stays:
            both = answers[row], answers[stays[first]]
            if min(both) >= 0 and both[0] != both[1]:
                raise work.two_questions(own, place)
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
            + "".join(f"; {count} × {reason}" for reason, count in cleaned.reasons.items()),
            expected="a stem, 2 to 10 different options, and an answer in each row",
            fix="check the column mapping under [data.columns]",
        )
    return cleaned


def _watched(rows: Iterable[Located], task: ProgressTask) -> Iterator[Located]:
    for row in rows:
        yield row
        task.advance()


@dataclass(slots=True)
class _Cleaning:
    """What is remembered while the rows of one source go by."""

    columns: ColumnMapping
    source: str
    answers: AnswerColumn = field(init=False)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    names: list[tuple[str, str | None, int | None]] = field(default_factory=list)
    """Per sound row: its place, its own id, and the earlier row that is the same question."""
    rows: int = 0
    _seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _made: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.answers = AnswerColumn(self.columns, self.source)

    def sound(self, rows: Iterable[Located]) -> Iterator[dict[str, Any]]:
        """Yield the cells of every row without a fault, its answer noted aside."""
        for place, row in rows:
            if not self.rows:
                check_columns(row, self.columns, self.source)
            self.rows += 1
            stem = self._stem(row)
            cells = option_cells(row, self.columns)
            texts = [tidy(cell, self.changes) for cell in cells]
            while texts and not texts[-1]:
                texts.pop()  # options absent at the end do not exist (three-option rows)
            if (bare := unmarked(texts)) is not None:
                self.changes["letters before options"] += len(texts)
                texts = bare
            own = self._cell(row, self.columns.id)
            answer = cell_of(row, self.columns.answer)
            if bare is not None or len(self.columns.options) == 1:
                answer = plain_answer(answer, texts)
            seen = [cell_of(row, self.columns.stem), *self._passage(row), *cells]
            picture = any(map(shows_image, seen))
            reason = _fault(stem, texts, picture)
            if not reason and several(answer, texts):
                reason = "several right answers"
            if reason:
                self.excluded.append((own or place, reason))
                continue
            self.changes["damaged encoding"] += damaged("\n".join([stem, *texts]))
            self.answers.add(Labelled(place, answer, texts))
            yield {
                "id": self._identity(own, place, stem, texts),
                "stem": stem,
                "options": texts,
                "subject": self._cell(row, self.columns.subject),
                "topic": self._cell(row, self.columns.topic),
                "explanation": self._cell(row, self.columns.explanation),
                "group": self._cell(row, self.columns.group),
            }
        self.changes = +self.changes  # kinds that never happened are not listed

    def two_questions(self, own: str | None, place: str) -> DataError:
        """Complain that an id does not identify."""
        return DataError(
            f"{self.source}: the id {own} stands for two different questions, the second in "
            f"{place}",
            expected="one id per question, in all files of a source together",
            fix='make the ids unique, or leave them out (id = "" under [data.columns]): '
            "questions are then named by their content",
        )

    def _identity(self, own: str | None, place: str, stem: str, texts: list[str]) -> str:
        content = content_hash([stem, texts])
        row = len(self.names)
        if own is None:
            # The same question twice is two rows here; overlap decides about the second.
            self._made[content] += 1
            number = self._made[content]
            self.names.append((place, None, None))
            return f"row-{content[:16]}" + (f"-{number}" if number > 1 else "")
        digest = bytes.fromhex(content[:16])
        twin, known = self._seen.setdefault(own, (row, digest))
        if known != digest:
            raise self.two_questions(own, place)
        self.names.append((place, own, None if twin == row else twin))
        return own

    def _stem(self, row: Row) -> str:
        stem = tidy(cell_of(row, self.columns.stem), self.changes)
        if not stem or not self.columns.context:
            return stem
        parts = [tidy(part, self.changes) for part in self._passage(row)]
        return "\n".join(text for text in [*parts, stem] if text)

    def _passage(self, row: Row) -> list[Any]:
        """Read what stands before the stem: a text, or a list of them."""
        passage = cell_of(row, self.columns.context) if self.columns.context else None
        return passage if isinstance(passage, list) else [passage]

    def _cell(self, row: Row, column: str) -> str | None:
        """Read an optional text; "" names no column, though a CSV may have a nameless one."""
        return tidy(cell_of(row, column), self.changes) or None if column else None


def cell_of(row: Row, column: str) -> Any:
    """Read a cell; dots lead into nested ones ("data.Options")."""
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def check_columns(row: Row, columns: ColumnMapping, source: str) -> None:
    """Check that a mapping's columns are there.

    Raises:
        ColumnError: Naming every one that is missing, and those that the file has; or one that
            holds tables where texts are needed.
    """
    options = () if columns.fixed_options else columns.options
    required = [columns.stem, *options, columns.answer]
    plain = ColumnMapping()
    named = [getattr(columns, k) for k in _OPTIONAL if getattr(columns, k) != getattr(plain, k)]
    missing = [name for name in [*required, *named] if name and not _has(row, name)]
    if not missing:
        _check_texts(row, columns, source)
    else:
        raise ColumnError(
            f"{source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, row))}",
            expected=f"{', '.join(required)}",
            fix="map your columns with --map stem=... --map options=a,b,c,d --map answer=..., "
            "in an experiment under [data.columns]; `medtune prepare --inspect FILE` proposes "
            "a mapping",
        )


def option_cells(row: Row, columns: ColumnMapping) -> list[Any]:
    """Read a row's options as they stand: from columns of their own, or from one list."""
    if columns.fixed_options:
        return list(columns.fixed_options)
    if len(columns.options) > 1:
        return [cell_of(row, name) for name in columns.options]
    return listed(cell_of(row, columns.options[0]))


def listed(value: Any) -> list[Any]:
    """Read the options that one cell holds.

    A text that holds them ("(a) x (b) y", a JSON list), a list of texts, {key: text},
    [{key, value}] as MedQA has it, [{label, text}] as ARC, or the pairs of an Arrow map.  Where
    the keys are letters or numbers, they and not the order say which option is A, and one that is
    left out leaves its place empty.
    """
    if isinstance(value, dict):
        return _by_key(list(value), list(value.values()))
    if isinstance(value, str):
        return options_in(value) or [value]
    if not isinstance(value, list):
        return [value]
    if value and all(isinstance(item, tuple) for item in value):
        return _by_key([item[0] for item in value], [item[1] for item in value])
    for key, text in (("key", "value"), ("label", "text")):
        if value and all(isinstance(item, dict) and text in item for item in value):
            keys = [item.get(key, n) for n, item in enumerate(value)]
            return _by_key(keys, [item[text] for item in value])
    return list(value)


def _by_key(keys: Sequence[object], texts: Sequence[Any]) -> list[Any]:
    names = [str(key).strip().upper() for key in keys]
    if len(set(names)) < len(names):
        return [None, *texts]  # which of two is meant cannot be told: "empty option"
    at = dict(zip(names, texts, strict=True))
    if names and all(len(name) == 1 and name in LETTERS for name in names):
        return [at.get(letter) for letter in LETTERS[: LETTERS.index(max(names)) + 1]]
    if names and all(re.fullmatch(r"[0-9]|10", name) for name in names):
        return [at.get(str(n)) for n in range("0" not in names, max(map(int, names)) + 1)]
    return list(texts)


def _check_texts(row: Row, columns: ColumnMapping, source: str) -> None:
    """Check that what should be a text is no table: Python would write it out as one."""
    passage = cell_of(row, columns.context) if columns.context else None
    parts = passage if isinstance(passage, list) else [passage]
    cells = {columns.stem: [cell_of(row, columns.stem)], columns.context: parts}
    if not columns.fixed_options:
        cells[", ".join(columns.options)] = option_cells(row, columns)
    for name, values in cells.items():
        nested = next((value for value in values if isinstance(value, dict | list)), None)
        if nested is not None:
            raise ColumnError(
                f"{source}: {name} holds a {'table' if isinstance(nested, dict) else 'list'} "
                f"where a text is expected: {shortened(nested)}",
                expected="texts, or for options a list of texts",
                fix='name the part that you mean with dots, such as options = ["choices.text"]',
            )


def _has(row: Row, column: str) -> bool:
    if column in row:
        return True
    value: Any = row
    for part in column.split("."):
        if value is None:
            return True  # a table that is absent from this row tells nothing
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _fault(stem: str, options: Sequence[str], picture: bool) -> str:
    """Name what is wrong with one row; "" for nothing."""
    if picture:
        return "needs a picture"
    if not stem:
        return "empty stem"
    if len(options) < MIN_OPTIONS:
        return "fewer than 2 options"
    if len(options) > MAX_OPTIONS:
        return "more than 10 options"
    if not all(options):
        return "empty option"
    if len({normalized_option(text) for text in options}) < len(options):
        return "duplicate options"
    return ""
