"""Read the right option: an index from 0 or from 1, a letter, or the option's text.

A single row may be ambiguous ("A" is a letter and a blood group, "2" an index and a number of
kidneys), so one form must fit the whole file.  If two forms fit and disagree, it is refused.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import LabelError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import LETTERS, normalize_option
from medtune.data.cleaning.normalize_text import clean_text, shorten_for_message

_NO_LABEL = -1
MAX_SHOWN = 20
"""Largest number of unreadable answers shown one by one; the rest is counted."""


@dataclass(frozen=True, slots=True)
class AnswerCell:
    """Answer cell of a row, with the row's options."""

    place: str
    """Position of the row, for messages."""
    value: object
    """Value as in the file."""
    options: Sequence[str]


class AnswerColumn:
    """Answer column of a file: collects the cells row by row, and decides their form at the end.

    It stores twelve bytes per row, and the first cells of every kind for messages.
    """

    def __init__(self, columns: ColumnMapping, source: str) -> None:
        self._columns = columns
        self._source = source
        self._readings = {"index": array("q"), "letter": array("b"), "text": array("b")}
        self._cells: dict[str, list[AnswerCell]] = {}
        """First cells that a form does not fit, and first indices of each class."""
        self._counts: Counter[str] = Counter()
        self._known = 0
        self._first: AnswerCell | None = None
        self._same_letter_and_text = True

    def add(self, cell: AnswerCell) -> None:
        """Add the answer of the next valid row."""
        if self._columns.answer_form == "text":
            cell = replace(cell, value=_number_as_text(cell.value))
        index = _read_as_index(cell)
        if not clean_text(cell.value) or (index == -1 and not self._is_minus_one_option(cell)):
            for readings in self._readings.values():
                readings.append(_NO_LABEL)
            return
        self._known += 1
        self._first = self._first or cell
        found = {"index": index, "letter": _read_as_letter(cell), "text": _read_as_text(cell)}
        for form, reading in found.items():
            if reading is None:
                self._record(form, cell)
                reading = _NO_LABEL
            # Eight bytes; an index beyond them is refused later anyway.
            self._readings[form].append(max(-(1 << 62), min(reading, 1 << 62)))
        self._same_letter_and_text &= found["letter"] == found["text"]
        if index is not None:
            self._record(_classify_index(index, len(cell.options)), cell)

    def _record(self, kind: str, cell: AnswerCell) -> None:
        """Store the first cells of a kind, and count the rest."""
        self._counts[kind] += 1
        if self._counts[kind] <= MAX_SHOWN:
            self._cells.setdefault(kind, []).append(cell)

    def _is_minus_one_option(self, cell: AnswerCell) -> bool:
        """Return whether -1 is an option's text, not the mark of an unreleased label."""
        return self._columns.answer_form == "text" and _read_as_text(cell) is not None

    def resolve_answers(self) -> tuple[NDArray[np.int64], int | None]:
        """Resolve all answers to indices.

        Returns:
            The 0-based index of each row's right option, or -1 where the label is not released;
            and the index base, None for letters and texts.

        Raises:
            LabelError: No form fits every row, two fit and disagree, the base is ambiguous, or
                an index lies outside the options.
        """
        form = self._columns.answer_form or self._detect_form()
        answers = np.array(self._readings[form], dtype=np.int64)
        if form in self._cells:
            raise self._unreadable_error([form], None)
        if form != "index" or not self._known:
            return answers, None
        given = self._columns.answer_base
        base = self._detect_base() if given is None else given
        outside = ("negative", "count", "beyond") if base == 0 else ("negative", "zero", "beyond")
        if wrong := [mark for mark in outside if mark in self._cells]:
            raise self._unreadable_error(wrong, base)
        return np.where(answers == _NO_LABEL, _NO_LABEL, answers - base), base

    def _detect_form(self) -> str:
        """Return the only form that fits every answer."""
        fitting = [name for name in self._readings if name not in self._cells]
        if not fitting:
            best = min(self._readings, key=lambda name: self._counts[name])
            raise self._unreadable_error([best], None)
        # If the letters are also the texts of their options, both forms agree.
        twice = "letter" in fitting and "text" in fitting and self._same_letter_and_text
        if len(fitting) == 1 or self._first is None or twice:
            return fitting[0]
        raise LabelError(
            f"{self._source}: every {self._columns.answer} fits in two ways, as "
            f"{' and as '.join(fitting)} (first: {shorten_for_message(self._first.value)} for "
            "the options "
            f"{', '.join(self._first.options)})",
            fix=f'say which: answer_form = "{fitting[0]}" (or "{fitting[1]}") under '
            f"[data.columns], or --map answer_form={fitting[0]}",
        )

    def _detect_base(self) -> int:
        """Return the index base, 0 or 1.

        A 0 implies base 0, an index equal to the number of options implies base 1.
        """
        zero, one = self._cells.get("zero"), self._cells.get("count")
        column = self._columns.answer
        if zero is not None and one is not None:
            raise LabelError(
                f"{self._source}: {column} is 0 in {zero[0].place} and the number of options in "
                f"{one[0].place}",
                expected="all answers counted from 0, or all from 1",
                fix="correct the file: two label bases are mixed in it",
            )
        if zero is None and one is None:
            if wrong := [mark for mark in ("negative", "beyond") if mark in self._cells]:
                raise self._unreadable_error(wrong, None)
            raise LabelError(
                f"{self._source}: {column} is never 0 and never the number of options in "
                f"{self._known} rows, so it may count from 0 or from 1",
                fix="say which: answer_base = 0 (or 1) under [data.columns], or "
                "--map answer_base=0",
            )
        return 0 if zero is not None else 1

    def _unreadable_error(self, kinds: Sequence[str], base: int | None) -> LabelError:
        """Return one error for all unreadable answers of some kinds."""
        cells = [cell for kind in kinds for cell in self._cells[kind]]
        number = sum(self._counts[kind] for kind in kinds)
        count = len(cells[0].options)
        expected = (
            f"an index, a letter A to {LETTERS[count - 1]}, or an option's text, the same in every "
            "row"
            if base is None
            else f"{base} to {count - 1 + base}, or -1 for no label"
        )
        column = self._columns.answer
        lines = [
            f"{cell.place}: {column} is {shorten_for_message(cell.value)}, there are "
            f"{len(cell.options)} options"
            for cell in cells[:MAX_SHOWN]
        ]
        found = f"{self._source} {lines[0]}"
        if number > 1:
            if number > len(lines):
                lines.append(f"and {number - len(lines):,} more")
            first = f"{self._source}: {number:,} answers of {self._known:,} cannot be read"
            found = "\n  ".join([first, *lines])
        return LabelError(
            found,
            expected=expected,
            fix="check answer, answer_form and answer_base under [data.columns], or --map",
        )


def _number_as_text(value: object) -> object:
    """Return a number as text, for options that are all numbers."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) and value == value else value


def _classify_index(index: int, count: int) -> str:
    """Classify an index by what it implies about the base."""
    if index < 0 or index > count:
        return "negative" if index < 0 else "beyond"
    return {0: "zero", count: "count"}.get(index, "inside")


def _read_as_index(cell: AnswerCell) -> int | None:
    value = cell.value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    # pandas writes integers in a column with gaps as 2.0; Python limits the digits of an int.
    text = re.fullmatch(r"(-?\d{1,18})(?:\.0+)?", clean_text(value))
    return int(text[1]) if text else None


def _read_as_letter(cell: AnswerCell) -> int | None:
    text = clean_text(cell.value).upper()
    return LETTERS.index(text) if len(text) == 1 and text in LETTERS[: len(cell.options)] else None


def _read_as_text(cell: AnswerCell) -> int | None:
    if not isinstance(cell.value, str | bytes):
        return None
    folded = [normalize_option(option) for option in cell.options]
    said = normalize_option(clean_text(cell.value))
    return folded.index(said) if said in folded else None
