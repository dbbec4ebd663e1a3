"""Describe a table of results once, for the terminal, for pages and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from medtune.core.records import Proportion

Row = TypeVar("Row")
Medium = Literal["terminal", "page", "markdown"]
Media = tuple[Medium, ...]
Kind = Literal["name", "text", "code", "number"]
"""A name is short; a text may wrap; code is a text that is shown verbatim."""

ALL: Media = ("terminal", "page", "markdown")
SCREEN: Media = ("terminal", "page")
PAGE: Media = ("page",)
TERMINAL: Media = ("terminal",)


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column of a table of results, or two: a value and its interval.

    Attributes:
        headers: One header for every cell, as within a sentence.
        read: Returns the texts of a row; None is a dash.
        kind: Kind of the cells.
        media: Where it is shown.
        joint: What joins the last two texts to an interval; "" for a column without intervals.
    """

    headers: tuple[str, ...]
    read: Callable[[Row], tuple[str | None, ...]]
    kind: Kind
    media: Media
    joint: str = ""

    def cells(self, row: Row, medium: Medium) -> tuple[str | None, ...]:
        """Return the cells of a row."""
        texts = self.read(row)
        if not self.joint or None in texts:
            return texts[: len(self.headers)]
        *value, low, high = texts
        joint = "–" if medium == "page" and self.joint == "-" else self.joint
        return (*value, f"{low}{joint}{high}")


def text(
    header: str, read: Callable[[Row], str | None], media: Media = ALL, kind: Kind = "text"
) -> Column[Row]:
    """Describe a column of texts."""
    return Column((header,), lambda row: (read(row),), kind, media)


def label(header: str, read: Callable[[Row], str | None], media: Media = ALL) -> Column[Row]:
    """Describe a column of names."""
    return text(header, read, media, "name")


def number(
    header: str,
    read: Callable[[Row], float | str | None],
    spec: str = ",",
    media: Media = ALL,
    scale: float = 1,
) -> Column[Row]:
    """Describe a column of numbers in a format; a text among them stays as it is."""

    def cells(row: Row) -> tuple[str | None]:
        value = read(row)
        return (value if value is None or isinstance(value, str) else f"{scale * value:{spec}}",)

    return Column((header,), cells, "number", media)


def percent(
    header: str,
    read: Callable[[Row], Proportion | float | None],
    media: Media = ALL,
    spec: str = ".1f",
) -> Column[Row]:
    """Describe a column of proportions in per cent, or of differences in points."""

    def value(row: Row) -> float | None:
        found = read(row)
        return found.value if isinstance(found, Proportion) else found

    return number(header, value, spec, media, 100)


def estimate(
    header: str,
    read: Callable[[Row], Any],
    media: Media = ALL,
    spec: str = ".1f",
    scale: float = 100,
) -> Column[Row]:
    """Describe a column of proportions in per cent, or of differences in points, with intervals.

    Args:
        header: Header.
        read: Returns (value, low, high), a record with fields of these names, or None.
        media: Where it is shown.
        spec: Format of the three; signed ends are joined by "to".
        scale: Factor of the three.
    """

    def cells(row: Row) -> tuple[str | None, ...]:
        found = read(row)
        if found is None:
            return None, None
        ends = found if isinstance(found, tuple) else (found.value, found.low, found.high)
        return tuple(f"{scale * end:{spec}}" for end in ends)

    return Column((header, "95 %"), cells, "number", media, _joint(spec))


def span(
    header: str, read: Callable[[Row], tuple[float, float]], media: Media = ALL, spec: str = ".1f"
) -> Column[Row]:
    """Describe a column of intervals (low, high) of proportions in per cent."""
    return Column(
        (header,),
        lambda row: tuple(f"{100 * end:{spec}}" for end in read(row)),
        "number",
        media,
        _joint(spec),
    )


def _joint(spec: str) -> str:
    return " to " if spec.startswith("+") else "-"


def p_value(header: str, read: Callable[[Row], float | None], media: Media = ALL) -> Column[Row]:
    """Describe a column of p-values."""

    def cells(row: Row) -> tuple[str | None]:
        p = read(row)
        return (None if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}",)

    return Column((header,), cells, "number", media)


@dataclass(frozen=True, slots=True)
class ResultTable(Generic[Row]):
    """A table of results: rows, and the columns that are read from them."""

    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    ends: Collection[int] = ()
    """Rows that end a group."""

    def layout(self, medium: Medium) -> tuple[list[tuple[str, Kind]], list[list[str | None]]]:
        """Return the headers with their kinds, and the cells of every row."""
        columns = [column for column in self.columns if medium in column.media]
        heads = [(header, column.kind) for column in columns for header in column.headers]
        return heads, [
            [cell for column in columns for cell in column.cells(row, medium)] for row in self.rows
        ]

    def to_markdown(self) -> str:
        """Render the table as Markdown; a value and its interval share a cell."""
        columns = [column for column in self.columns if "markdown" in column.media]
        lines = [[_with_interval(*column.headers) for column in columns], ["---"] * len(columns)]
        for row in self.rows:
            cells = (_with_interval(*column.cells(row, "markdown")) for column in columns)
            lines.append([cell.replace("|", "\\|") for cell in cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_percent_interval(value: Proportion) -> str:
    """Format a proportion with its interval within a sentence, in per cent."""
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f}-{100 * value.high:.1f})"


def _with_interval(value: str | None, interval: str | None = None) -> str:
    if value is None:
        return "–"
    return value if interval is None else f"{value} ({interval})"
