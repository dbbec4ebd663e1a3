"""Report progress on stderr: a bar in a terminal, a line every 30 s in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from medtune.cli.output.console import open_console, verbosity
from medtune.cli.output.table import shorten_middle

LOG_INTERVAL_S = 30.0
"""Seconds between two lines in a log."""
REDRAW_INTERVAL_S = 0.05
"""Shortest time between two redraws of a bar, which cost more than processing a row."""
NUMBERS_WIDTH = 56
"""Width of counts, times and figures beside a bar."""
BAR_WIDTH = 24


class _Bar:
    """A progress bar in a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._pending = 0
        self._shown = 0.0

    def advance(self, amount: int = 1, **figures: str) -> None:
        self._pending += amount
        if figures or time.monotonic() - self._shown > REDRAW_INTERVAL_S:
            self.flush(**figures)

    def flush(self, **figures: str) -> None:
        """Draw the updates that were held back."""
        if not self._pending and not figures:
            return
        self._progress.update(self._task, advance=self._pending, figures=_format_figures(figures))
        self._pending = 0
        self._shown = time.monotonic()


class _Log:
    """Progress lines in a log: one every 30 s, and one at the end."""

    def __init__(self, console: Console, name: str, total: int | None, done: int) -> None:
        self._console = console
        self._name = name
        self._total = total
        self._before = self._done = done
        self._start = self._shown = time.monotonic()
        self._figures: dict[str, str] = {}

    def advance(self, amount: int = 1, **figures: str) -> None:
        self._done += amount
        self._figures = figures or self._figures
        # The end has a line of its own.
        if time.monotonic() - self._shown >= LOG_INTERVAL_S and self._done != self._total:
            self.write()

    def end(self) -> None:
        """Write the last line; for work of unknown length only if it took long."""
        if self._total is not None or self._shown > self._start:
            self.write()

    def write(self) -> None:
        """Write one line: count, elapsed and remaining time, and figures."""
        now = time.monotonic()
        elapsed, fresh = now - self._start, self._done - self._before
        parts = [f"{self._name}: {self._done:,}" + (f"/{self._total:,}" if self._total else "")]
        parts.append(f"after {_format_duration(elapsed)}")
        if self._total is not None and fresh > 0 and self._done < self._total:
            parts.append(f"left {_format_duration(elapsed / fresh * (self._total - self._done))}")
        if self._figures:
            parts.append(_format_figures(self._figures))
        self._console.print(Text("  ".join(parts)), soft_wrap=True)
        self._shown = now


class Terminal:
    """Progress reports on stderr."""

    def __init__(self) -> None:
        self._console = open_console(stderr=True)
        self._console.quiet = self._console.quiet or verbosity().quiet

    def log_message(self, text: str) -> None:
        """Print one message."""
        self._console.print(Text(text), soft_wrap=True)

    def error(self, text: str) -> None:
        """Print an error, in any process."""
        self._console.quiet = False
        self._console.print(Text(f"error: {text}", style="bold red"), soft_wrap=True)

    @contextmanager
    def task(self, name: str, total: int | None, done: int = 0) -> Iterator[_Bar | _Log]:
        """Show a progress bar, or progress lines if stderr is no terminal.

        Work of unknown length is shown only while it runs.
        """
        if not self._console.is_terminal:
            log = _Log(self._console, name, total, done)
            try:
                yield log
            finally:
                log.end()
            return
        with _create_progress_bars(self._console, total is None) as progress:
            width = max(8, self._console.width - NUMBERS_WIDTH)
            task = progress.add_task(
                shorten_middle(name, width), total=total, completed=done, figures=""
            )
            bar = _Bar(progress, task)
            yield bar
            bar.flush()


def _create_progress_bars(console: Console, transient: bool) -> Progress:
    """Create progress bars that fit the width without cutting a number."""

    def column() -> Column:
        return Column(no_wrap=True)

    columns: list[ProgressColumn] = [TextColumn("{task.description}", table_column=column())]
    if console.width >= NUMBERS_WIDTH + 2 * BAR_WIDTH:
        columns.append(BarColumn(bar_width=BAR_WIDTH))
    columns += [MofNCompleteColumn(table_column=column()), TimeElapsedColumn(column())]
    if not transient:
        columns += [TextColumn("left", table_column=column())]
        columns += [TimeRemainingColumn(table_column=column())]
    columns.append(TextColumn("{task.fields[figures]}", table_column=column()))
    return Progress(*columns, console=console, transient=transient)


def _format_figures(figures: dict[str, str]) -> str:
    return "  ".join(
        value if key == "speed" else f"{key} {value}" for key, value in figures.items()
    )


def _format_duration(seconds: float) -> str:
    """Format a duration as 0:01:30."""
    return str(timedelta(seconds=round(seconds)))
