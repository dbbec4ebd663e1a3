"""From rows to questions: the data contract.

A fault of the file (a missing column, a label outside the options, an unknown label base) is an
error: going on would guess.  A fault of one row (an empty or repeated option, no label) leaves
that row out, with its reason counted.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.config import ColumnMapping
from medtune.core.errors import ColumnError, EmptySplitError, LabelError
from medtune.core.records import (
    LETTERS,
    MAX_OPTIONS,
    MIN_OPTIONS,
    Question,
    content_hash,
    normalized_option,
)
from medtune.data.sources import Row

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\ufeff]")
_SPACES = re.compile(r"[^\S\n]+")


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
    options = [_options(row, columns) for _, row in listed]
    base = _answer_base(listed, options, columns, source)
    questions: list[Question] = []
    excluded: list[tuple[str, str]] = []
    ids: set[str] = set()
    for (place, row), texts in zip(listed, options, strict=True):
        stem = tidy(row.get(columns.stem))
        reason = _fault(stem, texts)
        answer = None if reason else _answer(row, texts, columns, base, f"{source} {place}")
        if not reason and answer is None and need_labels:
            reason = "no label"
        identity = tidy(row.get(columns.id)) or f"{source}#{content_hash([stem, texts])[:16]}"
        if not reason and identity in ids:
            reason = "id seen before"
        if reason:
            excluded.append((tidy(row.get(columns.id)) or place, reason))
            continue
        ids.add(identity)
        questions.append(
            Question(
                id=identity,
                stem=stem,
                options=tuple(texts),
                answer=answer,
                subject=tidy(row.get(columns.subject)) or None,
                topic=tidy(row.get(columns.topic)) or None,
                explanation=tidy(row.get(columns.explanation)) or None,
                group=tidy(row.get(columns.group)) or None,
            )
        )
    cleaned = Cleaned(tuple(questions), tuple(excluded), base)
    if not questions:
        raise EmptySplitError(
            f"{source}: none of {len(listed)} rows is a usable question"
            + "".join(f"; {count} × {reason}" for reason, count in cleaned.reasons.items()),
            expected="a stem, 2 to 10 different options, and an answer in each row",
            fix="check the column mapping under [data.columns]",
        )
    return cleaned


def tidy(value: object) -> str:
    """Normalise a text: Unicode NFC, no control characters, single spaces; None becomes ""."""
    if value is None or value != value:  # NaN is how some readers write a missing text
        return ""
    text = unicodedata.normalize("NFC", str(value))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    lines = (_SPACES.sub(" ", _CONTROL.sub("", line)).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _check_columns(row: Row, columns: ColumnMapping, source: str) -> None:
    required = [columns.stem, *columns.options, columns.answer]
    optional = ("id", "subject", "topic", "explanation", "group")
    named = [getattr(columns, key) for key in optional if key in columns.model_fields_set]
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


def _answer_base(
    rows: Sequence[tuple[str, Row]],
    options: Sequence[Sequence[str]],
    columns: ColumnMapping,
    source: str,
) -> int | None:
    """Tell whether answer indices count from 0 or from 1, from the whole file.

    A 0 proves base 0, an index equal to the number of options proves base 1.
    """
    if columns.answer_base is not None:
        return columns.answer_base
    zero = one = ""
    numbers = 0
    for (place, row), texts in zip(rows, options, strict=True):
        index = _index(row.get(columns.answer), texts)
        if index is None or index < 0:
            continue
        numbers += 1
        if index == 0:
            zero = zero or place
        if index == len(texts):
            one = one or place
    if zero and one:
        raise LabelError(
            f"{source}: {columns.answer} is 0 in {zero} and the number of options in {one}",
            expected="all answers counted from 0, or all from 1",
            fix="mend the file: two label bases are mixed in it",
        )
    if numbers and not zero and not one:
        raise LabelError(
            f"{source}: {columns.answer} is never 0 and never the number of options in "
            f"{numbers} rows, so it may count from 0 or from 1",
            fix="say which: answer_base = 0 (or 1) under [data.columns]",
        )
    return (0 if zero else 1) if numbers else None


def _index(value: object, options: Sequence[str]) -> int | None:
    """Read a numeric answer; None where the answer is a letter, a text, or missing."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value == value and value.is_integer() else None
    text = str(value).strip()
    # A number that is itself an option's text is that option, not an index.
    if re.fullmatch(r"-?\d+", text) and text not in options:
        return int(text)
    return None


def _answer(
    row: Row, options: Sequence[str], columns: ColumnMapping, base: int | None, place: str
) -> int | None:
    """Read the right option's index, 0-based; None where the label is not released."""
    value = row.get(columns.answer)
    index = _index(value, options)
    if index is not None:
        if index == -1:
            return None
        assert base is not None, "a numeric answer has a base"
        if 0 <= index - base < len(options):
            return index - base
        raise LabelError(
            f"{place}: {columns.answer} is {index}, there are {len(options)} options",
            expected=f"{base} to {len(options) - 1 + base}, or -1 for no label",
            fix="check the answer column, or answer_base under [data.columns]",
        )
    text = tidy(value)
    if not text:
        return None
    matches = [i for i, o in enumerate(options) if normalized_option(o) == normalized_option(text)]
    if matches:
        return matches[0]
    if len(text) == 1 and text.upper() in LETTERS[: len(options)]:
        return LETTERS.index(text.upper())
    raise LabelError(
        f"{place}: {columns.answer} is {text!r}",
        expected=f"an index, a letter A to {LETTERS[len(options) - 1]}, or an option's text",
        fix="check the answer column under [data.columns]",
    )
