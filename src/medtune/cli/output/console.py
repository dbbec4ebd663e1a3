"""What everything printed has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from medtune.cli.output.table import Kind, PlainTable
from medtune.core.records import Proportion
from medtune.workflows.distributed import leads


@dataclass(slots=True)
class Verbosity:
    """How much is told on stderr beside errors."""

    quiet: bool = False
    """Neither progress nor messages."""
    verbose: bool = False
    """Where an error came from, too."""


_VERBOSITY = Verbosity()


def verbosity() -> Verbosity:
    """Return how much this process tells; the command line sets it."""
    return _VERBOSITY


def speaks() -> bool:
    """Tell whether this process speaks for all: of those that a launcher starts, the first."""
    return leads()


def open_console(stderr: bool) -> Console:
    """Open a console; a pipe or a log file has no width of its own and gets a wide one."""
    # Names and texts of users are shown as they are: a path may look like markup.
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    console.quiet = not speaks()
    if not console.is_terminal:
        console.width = 120
    return console


def plain_table(
    names: Sequence[str], numbers: Sequence[str] = (), texts: Sequence[str] = ()
) -> PlainTable:
    """Make a table without lines: columns of names, of texts, which may fold, then of numbers."""
    kinds: tuple[tuple[Sequence[str], Kind], ...] = (
        (names, "name"),
        (texts, "text"),
        (numbers, "number"),
    )
    return PlainTable([(header, kind) for headers, kind in kinds for header in headers])


def percent(value: Proportion) -> str:
    """Write a proportion with its interval."""
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f}-{100 * value.high:.1f})"
