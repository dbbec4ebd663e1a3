"""The blind items as a spreadsheet whose column `choice` a reviewer fills in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import read_lines
from medtune.core.records import LETTERS
from medtune.spotcheck.schema import Choice, SpotCheckItem

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Characters at the start of a cell that a spreadsheet may run (OWASP, "CSV injection")."""
_BOM = "\ufeff"


def format_sheet(items: Sequence[SpotCheckItem]) -> str:
    """Format the items as CSV with empty columns `choice` and `note`.

    Cells that a spreadsheet would run as a formula are prefixed with an apostrophe. The text begins
    with a byte-order mark, without which Excel does not read UTF-8.
    """
    letters = LETTERS[: max(len(item.options) for item in items)]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["item", "question", *letters, "output", "choice", "note"])
    for item in items:
        options = [*item.options, *[""] * (len(letters) - len(item.options))]
        cells = map(_escape_formula, [item.stem, *options, item.text])
        writer.writerow([item.id, *cells, "", ""])
    return _BOM + file.getvalue()


def read_sheet(path: Path) -> dict[str, Choice]:
    """Read a filled-in sheet's choices by item; rows without one are not marked.

    Args:
        path: A CSV with the columns `item` and `choice`, separated by commas, semicolons or tabs.
            A choice is a letter, N (names no option) or U (cannot tell).

    Raises:
        PredictionsError: The sheet cannot be read, or a choice is none of these.
    """
    text = "\n".join(read_lines(path)).removeprefix(_BOM)
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if not {"item", "choice"} <= set(rows.fieldnames or ()):
        raise PredictionsError(
            f"{path} has the columns {', '.join(rows.fieldnames or ()) or 'none'}",
            expected="item and choice, as in items.csv",
        )
    marks: dict[str, Choice] = {}
    for row in rows:
        if said := (row["choice"] or "").strip():
            item = (row["item"] or "").strip()
            if not item:
                raise PredictionsError(f"{path} line {rows.line_num}: a choice without its item")
            marks[item] = _parse_choice(path, rows.line_num, said)
    return marks


def _parse_choice(path: Path, line: int, said: str) -> Choice:
    folded = said.casefold()
    if folded in ("n", "none"):
        return "none"
    if folded in ("u", "unsure"):
        return "unsure"
    if len(said) == 1 and said.upper() in LETTERS:
        return LETTERS.index(said.upper())
    raise PredictionsError(
        f"{path} line {line}: choice {said!r}",
        expected="an option's letter, N (names no option) or U (cannot tell); empty: not marked",
    )


def _escape_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
