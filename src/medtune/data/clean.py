"""From rows to questions: the data contract.

A fault of the file (a missing column, a label outside the options, an unknown label base) is an
error: going on would guess.  A fault of one row (an empty or repeated option, no label) leaves
that row out, with its reason counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.config import ColumnMapping
from medtune.core.errors import ColumnError, EmptySplitError
from medtune.core.records import (
    MAX_OPTIONS,
    MIN_OPTIONS,
    Question,
    content_hash,
    normalized_option,
)
from medtune.data.labels import Labelled, read_answers
from medtune.data.sources import Row
from medtune.data.text import tidy


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What the contract let through."""

    questions: tuple[Question, ...]
    excluded: tuple[tuple[str, str], ...]
    """(place or id, reason) of every row left out."""
    answer_base: int | None
    """Whether indices counted from 0 or 1; None where answers were letters or texts."""

    @property
    def reasons(self) -> dict[str, int]:
        """Count the rows left out, by reason."""
        return dict(Counter(reason for _, reason in self.excluded).most_common())


def clean(
    rows: Iterable[tuple[str, Row]], columns: ColumnMapping, source: str, need_labels: bool = True
) -> Cleaned:
    """Apply the data contract.

    Args:
        rows: (place, row), as `read_rows` yields them.
        columns: Which column holds what.
        source: Name of the data, for messages.
        need_labels: Leave out rows whose label is not released.

    Raises:
        ColumnError: A column of the mapping is missing.
        LabelError: An answer lies outside the options, or its base cannot be told.
        EmptySplitError: No row is left.
    """
    listed = list(rows)
    if listed:
        _check_columns(listed[0][1], columns, source)
    excluded: list[tuple[str, str]] = []
    sound: list[tuple[str, Row, list[str]]] = []
    for place, row in listed:
        texts = _options(row, columns)
        if reason := _fault(tidy(row.get(columns.stem)), texts):
            excluded.append((_cell(row, columns.id) or place, reason))
        else:
            sound.append((place, row, texts))
    # A row that is left out anyway tells nothing about the others' labels.
    answers, base = read_answers(
        [Labelled(place, row.get(columns.answer), texts) for place, row, texts in sound],
        columns,
        source,
    )
    questions: dict[str, Question] = {}
    for (place, row, texts), answer in zip(sound, answers, strict=True):
        stem = tidy(row[columns.stem])
        own = _cell(row, columns.id)
        identity = own or f"row-{content_hash([stem, texts])[:16]}"
        if answer is None and need_labels:
            excluded.append((own or place, "no label"))
        elif identity in questions:
            excluded.append((f"{own} ({place})" if own else place, "id seen before"))
        else:
            questions[identity] = Question(
                id=identity,
                stem=stem,
                options=tuple(texts),
                answer=answer,
                subject=_cell(row, columns.subject),
                topic=_cell(row, columns.topic),
                explanation=_cell(row, columns.explanation),
                group=_cell(row, columns.group),
            )
    cleaned = Cleaned(tuple(questions.values()), tuple(excluded), base)
    if not questions:
        raise EmptySplitError(
            f"{source}: none of {len(listed)} rows is a usable question"
            + "".join(f"; {count} × {reason}" for reason, count in cleaned.reasons.items()),
            expected="a stem, 2 to 10 different options, and an answer in each row",
            fix="check the column mapping under [data.columns]",
        )
    return cleaned


def _cell(row: Row, column: str) -> str | None:
    """Read an optional text; "" names no column, though a CSV may have a nameless one."""
    return tidy(row.get(column)) or None if column else None


def _check_columns(row: Row, columns: ColumnMapping, source: str) -> None:
    required = [columns.stem, *columns.options, columns.answer]
    optional = ("id", "subject", "topic", "explanation", "group")
    named = [
        getattr(columns, key)
        for key in optional
        if getattr(columns, key) != getattr(ColumnMapping(), key)
    ]
    missing = [name for name in [*required, *named] if name and name not in row]
    if missing:
        raise ColumnError(
            f"{source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, row))}",
            expected=f"{', '.join(required)}",
            fix="map your columns under [data.columns], or with "
            '--set data.columns.stem="..." (options = ["...", "..."], answer = "...")',
        )


def _options(row: Row, columns: ColumnMapping) -> list[str]:
    """Read the option texts; options absent at the end do not exist (three-option rows)."""
    if len(columns.options) == 1:
        value = row.get(columns.options[0])
        # Lists of {key, value} pairs and {key: text} tables are common (MedQA has both).
        if isinstance(value, dict):
            cells: list[Any] = list(value.values())
        elif isinstance(value, list):
            cells = [item.get("value") if isinstance(item, dict) else item for item in value]
        else:
            cells = [value]
    else:
        cells = [row.get(name) for name in columns.options]
    texts = [tidy(cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return texts


def _fault(stem: str, options: Sequence[str]) -> str:
    """Name what is wrong with one row; "" for nothing."""
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
