"""What everything printed has in common."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from medtune.core.records import Proportion
from medtune.steps.crew import leads


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


def plain_table(names: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """Make a table without lines: columns of names, which may fold, then of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def percent(value: Proportion) -> str:
    """Write a proportion with its interval."""
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f}-{100 * value.high:.1f})"
