"""Which option is right: an index from 0 or from 1, a letter, or the option's text.

One row cannot tell ("A" is a letter and a blood group, "2" an index and a number of kidneys), so
the whole file is read one way.  Where two ways fit and disagree, nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medtune.core.config import ColumnMapping
from medtune.core.errors import LabelError
from medtune.core.records import LETTERS, normalized_option
from medtune.data.text import tidy


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row's answer cell, with what it must fit."""

    place: str
    """Where it stands, for messages."""
    value: object
    """As the file has it."""
    options: Sequence[str]


def read_answers(
    cells: Sequence[Labelled], columns: ColumnMapping, source: str
) -> tuple[list[int | None], int | None]:
    """Read every answer of a file.

    Args:
        cells: The rows that are otherwise sound.
        columns: May settle the form and the base.
        source: Name of the data, for messages.

    Returns:
        Per cell the right option's index, 0-based, or None where the label is not released; and
        the base from which indices counted, None for letters and texts.

    Raises:
        LabelError: No form fits every row, two fit and disagree, the base cannot be told, or an
            index lies outside the options.
    """
    known = [cell for cell in cells if tidy(cell.value) and _index(cell) != -1]
    form = columns.answer_form or _form(known, columns, source)
    base: int | None = None
    if form == "index" and known:
        base = columns.answer_base
        base = _base(known, columns, source) if base is None else base
    answers: list[int | None] = []
    for cell in cells:
        if not tidy(cell.value) or _index(cell) == -1:
            answers.append(None)
            continue
        found = _READERS[form](cell)
        if found is not None and form == "index":
            found -= base or 0
        if found is None or not 0 <= found < len(cell.options):
            raise _unreadable(cell, columns, source, base)
        answers.append(found)
    return answers, base


def _form(known: Sequence[Labelled], columns: ColumnMapping, source: str) -> str:
    """Find the one form that fits every answer."""
    readings = {name: [read(cell) for cell in known] for name, read in _READERS.items()}
    fitting = [name for name, read in readings.items() if None not in read]
    if not fitting:
        most = max(readings, key=lambda name: sum(r is not None for r in readings[name]))
        odd = next(c for c, r in zip(known, readings[most], strict=True) if r is None)
        raise _unreadable(odd, columns, source, None)
    # Letters that are also the texts of their own options say the same thing twice.
    if len(fitting) == 1 or not known or readings["letter"] == readings["text"]:
        return fitting[0]
    raise LabelError(
        f"{source}: every {columns.answer} fits in two ways, as {' and as '.join(fitting)} "
        f"(first: {known[0].value!r} for the options {', '.join(known[0].options)})",
        fix=f'say which: answer_form = "{fitting[0]}" (or "{fitting[1]}") under [data.columns]',
    )


def _base(known: Sequence[Labelled], columns: ColumnMapping, source: str) -> int:
    """Tell whether indices count from 0 or from 1.

    A 0 proves base 0, an index equal to the number of options proves base 1.
    """
    indices = [(cell.place, _index(cell) or 0, len(cell.options)) for cell in known]
    zero = next((place for place, index, _ in indices if index == 0), None)
    one = next((place for place, index, count in indices if index == count), None)
    if zero is not None and one is not None:
        raise LabelError(
            f"{source}: {columns.answer} is 0 in {zero} and the number of options in {one}",
            expected="all answers counted from 0, or all from 1",
            fix="mend the file: two label bases are mixed in it",
        )
    if zero is None and one is None:
        for cell in known:
            if not 0 <= (_index(cell) or 0) <= len(cell.options):
                raise _unreadable(cell, columns, source, None)
        raise LabelError(
            f"{source}: {columns.answer} is never 0 and never the number of options in "
            f"{len(known)} rows, so it may count from 0 or from 1",
            fix="say which: answer_base = 0 (or 1) under [data.columns]",
        )
    return 0 if zero is not None else 1


def _unreadable(
    cell: Labelled, columns: ColumnMapping, source: str, base: int | None
) -> LabelError:
    count = len(cell.options)
    if base is not None:
        expected = f"{base} to {count - 1 + base}, or -1 for no label"
    else:
        expected = f"an index, a letter A to {LETTERS[count - 1]}, or an option's text"
        expected += ", the same in every row"
    return LabelError(
        f"{source} {cell.place}: {columns.answer} is {cell.value!r}, there are {count} options",
        expected=expected,
        fix="check answer, answer_form and answer_base under [data.columns]",
    )


def _index(cell: Labelled) -> int | None:
    value = cell.value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    # pandas writes an integer column with gaps as 2.0.
    text = re.fullmatch(r"(-?\d+)(?:\.0)?", str(value).strip())
    return int(text[1]) if text else None


def _letter(cell: Labelled) -> int | None:
    text = tidy(cell.value).upper()
    return LETTERS.index(text) if len(text) == 1 and text in LETTERS[: len(cell.options)] else None


def _text(cell: Labelled) -> int | None:
    if not isinstance(cell.value, str):
        return None
    folded = [normalized_option(option) for option in cell.options]
    said = normalized_option(tidy(cell.value))
    return folded.index(said) if said in folded else None


_READERS: dict[str, Callable[[Labelled], int | None]] = {
    "index": _index,
    "letter": _letter,
    "text": _text,
}
