"""Create consoles and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console

from medtune.cli.output.table import Kind, PlainTable
from medtune.core.records import Record
from medtune.reports.result_table import ResultTable
from medtune.workflows.distributed import is_main


@dataclass(slots=True)
class Verbosity:
    """Verbosity of messages on stderr."""

    quiet: bool = False
    """Print neither progress nor messages."""
    verbose: bool = False
    """Print tracebacks of errors."""


_VERBOSITY = Verbosity()

PRINTERS: dict[type[Record], Callable[[Console, Any], None]] = {}
Printer = TypeVar("Printer", bound=Callable[[Console, Any], None])


def prints(*kinds: type[Record]) -> Callable[[Printer], Printer]:
    """Register the decorated function as the printer of kinds of records."""

    def register(printer: Printer) -> Printer:
        PRINTERS.update(dict.fromkeys(kinds, printer))
        return printer

    return register


def verbosity() -> Verbosity:
    """Return the verbosity of this process, which the command line sets."""
    return _VERBOSITY


def is_output_process() -> bool:
    """Return whether this process prints: only rank 0 does."""
    return is_main()


def open_console(stderr: bool) -> Console:
    """Create a console; a pipe or a log file gets a width of 120."""
    # Names and texts of users are printed verbatim: a path may look like markup.
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    console.quiet = not is_output_process()
    if not console.is_terminal:
        console.width = 120
    return console


def create_plain_table(
    names: Sequence[str], numbers: Sequence[str] = (), texts: Sequence[str] = ()
) -> PlainTable:
    """Create a table without rules: columns of names, of texts that may wrap, then of numbers."""
    kinds: tuple[tuple[Sequence[str], Kind], ...] = (
        (names, "name"),
        (texts, "text"),
        (numbers, "number"),
    )
    return PlainTable([(header, kind) for headers, kind in kinds for header in headers])


def lay_out(table: ResultTable[Any]) -> PlainTable:
    """Lay out a table of results for a terminal."""
    heads, rows = table.layout("terminal")
    made = PlainTable([(header, "text" if kind == "code" else kind) for header, kind in heads])
    for row in rows:
        made.add_row(*("-" if cell is None else cell for cell in row))
    return made
