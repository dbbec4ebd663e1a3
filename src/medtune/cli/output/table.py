"""Print tables that fit the terminal width without wrapping a number.

A table that is too wide is made narrower in this order, each step only as far as needed:

1. headers wrap between words;
2. texts wrap between words;
3. constant columns move to one line below the table, the rightmost first;
4. names are shortened in the middle, with a key below;
5. columns that still do not fit move below their row, the rightmost first.

No value is omitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

GAP = 2
"""Spaces between columns."""
NAME_WIDTH = 14
"""Smallest width of a shortened name."""
TEXT_WIDTH = 16
"""Smallest width of a wrapped text, unless a word is longer."""
WORD_WIDTH = 24
"""Width of the longest word that is not split."""
INDENT = 4
"""Indent of the values below a row."""

Kind = Literal["name", "text", "number"]


@dataclass(slots=True)
class _Column:
    header: str
    kind: Kind
    cells: list[Text] = field(default_factory=list)

    @property
    def natural_width(self) -> int:
        """Width of its widest cell."""
        return max((cell.cell_len for cell in self.cells), default=0)

    @property
    def is_constant(self) -> bool:
        """Whether there are at least two rows, all with the same value."""
        return len(self.cells) > 1 and len({cell.plain for cell in self.cells}) == 1


class PlainTable:
    """A table without rules: columns of names, texts and numbers under bold headers."""

    def __init__(self, columns: Sequence[tuple[str, Kind]]) -> None:
        self._columns = [_Column(header, kind) for header, kind in columns]

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self._columns[0].cells)

    def add_row(self, *cells: str | Text) -> None:
        """Add a row with a cell for every column."""
        for column, cell in zip(self._columns, cells, strict=True):
            text = cell if isinstance(cell, Text) else Text(cell)
            if column.kind != "text" and "\n" in text.plain:
                text = Text(" ".join(text.plain.split()), style=text.style)
            column.cells.append(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table for the width of the console."""
        yield from _Layout(self._columns, options.max_width, console).lines()


class _Layout:
    """Layout of a table for a given width."""

    def __init__(self, columns: Sequence[_Column], width: int, console: Console) -> None:
        self._width = width
        self._console = console
        self._beside = list(columns)
        self._same: list[_Column] = []
        self._under: list[_Column] = []
        self._short: dict[str, str] = {}
        self._lines = 1
        while not self._fits() and self._lines < _most_words(columns):
            self._lines += 1
        self._move_columns(self._same, lambda column: column.is_constant)
        if not self._fits():
            self._shorten()
        self._move_columns(self._under, lambda _: True)
        if self._short:
            self._shorten()  # only as far as needed

    def lines(self) -> Iterator[Text]:
        """Yield header, rows and key."""
        widths = [self._required_width(column) for column in self._beside]
        spare = self._width - sum(widths) - GAP * (len(widths) - 1)
        for at, column in enumerate(self._beside):
            if column.kind == "text":
                more = max(
                    0, min(spare, max(column.natural_width, cell_len(column.header)) - widths[at])
                )
                widths[at] += more
                spare -= more
        heads = [_wrap_words(c.header, w) for c, w in zip(self._beside, widths, strict=True)]
        if any(column.header for column in self._beside):
            deepest = max(map(len, heads))
            raised = [["" for _ in range(deepest - len(head))] + head for head in heads]
            for words in zip(*raised, strict=True):
                yield self._join_cells([Text(word, style="bold") for word in words], widths)
        for row in range(len(self._beside[0].cells)):
            cells = [
                self._cell_lines(column, column.cells[row], width)
                for column, width in zip(self._beside, widths, strict=True)
            ]
            for depth in range(max(map(len, cells))):
                parts = [cell[depth] if depth < len(cell) else Text() for cell in cells]
                yield self._join_cells(parts, widths)
            under = [(c.header, c.cells[row]) for c in reversed(self._under)]
            yield from self._lines_below_row(
                [(label, cell) for label, cell in under if cell.plain != "-"]
            )
        if self._same:
            same = [(column.header, column.cells[0]) for column in reversed(self._same)]
            yield from self._lines_below_row(same, "in every row: ", "")
        for short, full in self._short.items():
            yield from self._paragraph([Text(f"{short} = {full}")], " ", "", " " * INDENT)

    def _required_width(self, column: _Column) -> int:
        """Return the width that a column needs in the current layout."""
        cells = column.natural_width
        if column.kind == "text":
            longest = max((cell_len(w) for c in column.cells for w in c.plain.split()), default=0)
            cells = min(cells, max(TEXT_WIDTH, min(longest, WORD_WIDTH)))
        elif column.kind == "name" and self._short:
            cells = max(
                (cell_len(self._short_name(cell.plain)) for cell in column.cells), default=0
            )
        return max(cells, _header_width(column.header, self._lines))

    def _fits(self) -> bool:
        widths = [self._required_width(column) for column in self._beside]
        return sum(widths) + GAP * (len(widths) - 1) <= self._width

    def _move_columns(self, to: list[_Column], movable: Callable[[_Column], bool]) -> None:
        """Move columns out of the table, from the right, until the rest fits."""
        for column in reversed(self._beside[1:]):
            if self._fits():
                return
            if movable(column):
                self._beside.remove(column)
                to.append(column)

    def _shorten(self) -> None:
        """Shorten the longest names until the table fits, but none below `NAME_WIDTH`."""
        names = [c for c in self._beside if c.kind == "name"]
        longest = max((column.natural_width for column in names), default=0)
        for width in range(longest - 1, NAME_WIDTH - 1, -1):
            self._short = {}
            for column in names:
                self._short |= _shorten_names([cell.plain for cell in column.cells], width)
            if self._fits():
                return

    def _short_name(self, text: str) -> str:
        return next((short for short, full in self._short.items() if full == text), text)

    def _cell_lines(self, column: _Column, cell: Text, width: int) -> list[Text]:
        """Wrap a cell into lines."""
        if column.kind == "text" and cell.cell_len:
            return list(cell.wrap(self._console, width, overflow="fold"))
        if column.kind == "name":
            short = self._short_name(cell.plain)
            return [cell if short == cell.plain else Text(short, style=cell.style)]
        return [cell]

    def _join_cells(self, cells: Sequence[Text], widths: Sequence[int]) -> Text:
        """Join cells to a line, names left-aligned and numbers right-aligned."""
        line = Text(no_wrap=True, end="\n")
        for at, (column, cell, width) in enumerate(zip(self._beside, cells, widths, strict=True)):
            padding = " " * (width - cell.cell_len)
            gap = " " * GAP if at else ""
            parts = (gap + padding, cell) if column.kind == "number" else (gap, cell, padding)
            for part in parts:
                line.append(part)
        line.rstrip()
        return line

    def _lines_below_row(
        self, pairs: Sequence[tuple[str, Text]], start: str = "", indent: str = " " * INDENT
    ) -> Iterator[Text]:
        """Yield the lines of labels and values that do not fit into a row."""
        if pairs:
            parts = [Text.assemble(f"{label} ", value) for label, value in pairs]
            yield from self._paragraph(parts, " · ", indent + start, indent or " " * INDENT)

    def _paragraph(
        self, parts: Sequence[Text], separator: str, first: str, following: str
    ) -> Iterator[Text]:
        """Fill lines with parts; a part longer than a line wraps between words."""
        line, empty = Text(first), True
        for part in parts:
            for piece in part.wrap(self._console, self._width - len(following), overflow="fold"):
                piece.rstrip()
                if not empty and line.cell_len + len(separator) + piece.cell_len > self._width:
                    yield _strip_end(line)
                    line, empty = Text(following), True
                if empty and line.cell_len + piece.cell_len > self._width:
                    yield _strip_end(line)
                    line = Text(following)
                line = Text.assemble(line, "" if empty else separator, piece)
                empty = False
        yield _strip_end(line)


def _strip_end(line: Text) -> Text:
    line.rstrip()
    return line


def _most_words(columns: Sequence[_Column]) -> int:
    return max(len(column.header.split()) for column in columns)


def _header_width(header: str, lines: int) -> int:
    """Return the smallest width at which a header takes at most `lines` lines."""
    words = header.split()
    lengths = [cell_len(word) for word in words]
    low = max(lengths, default=0)
    for width in range(low, cell_len(header) + 1):
        if len(_wrap_words(header, width)) <= lines:
            return width
    return low


def _wrap_words(text: str, width: int) -> list[str]:
    """Wrap a text between words only."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if lines[-1] and cell_len(joined) > width:
            lines.append(word)
        else:
            lines[-1] = joined
    return lines


def _shorten_names(names: Sequence[str], width: int) -> dict[str, str]:
    """Shorten names longer than `width` to distinct short forms."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if cell_len(name) <= width:
            continue
        short, number = shorten_middle(name, width), 1
        while short in found or short in names:
            number += 1
            mark = f"…{number}"
            short = shorten_middle(name, width - len(mark)) + mark
        found[short] = name
    return found


def shorten_middle(name: str, width: int) -> str:
    """Shorten a name to a width by omitting its middle."""
    if cell_len(name) <= width:
        return name
    head = 2 * width // 5  # the distinguishing part of a name is more often at its end
    tail = name[len(name) - (width - 1 - head) :]
    return set_cell_size(name, head).rstrip() + "…" + tail.lstrip()
