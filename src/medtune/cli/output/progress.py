"""Progress and messages on stderr: a bar in a terminal, a line every half minute in a log."""

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
from medtune.cli.output.table import middle_cut

EVERY_S = 30.0
"""Seconds between two lines of a log."""
REDRAW_S = 0.05
"""Shortest time between two redrawings of a bar; redrawing costs more than a row of data does."""
NUMBERS_WIDTH = 56
"""What counts, times and figures beside a bar take."""
BAR_WIDTH = 24


class _Bar:
    """A bar in a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._pending = 0
        self._shown = 0.0

    def advance(self, amount: int = 1, **figures: str) -> None:
        self._pending += amount
        if figures or time.monotonic() - self._shown > REDRAW_S:
            self.flush(**figures)

    def flush(self, **figures: str) -> None:
        """Show what was held back."""
        if not self._pending and not figures:
            return
        self._progress.update(self._task, advance=self._pending, figures=_written(figures))
        self._pending = 0
        self._shown = time.monotonic()


class _Log:
    """Lines in a log: one every half minute, and one at the end."""

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
        if time.monotonic() - self._shown >= EVERY_S and self._done != self._total:
            self.write()

    def end(self) -> None:
        """Write where it ended; of work of unknown length nothing but what took long."""
        if self._total is not None or self._shown > self._start:
            self.write()

    def write(self) -> None:
        """Write one line: how far it is, how long it took and will take, and the figures."""
        now = time.monotonic()
        elapsed, fresh = now - self._start, self._done - self._before
        parts = [f"{self._name}: {self._done:,}" + (f"/{self._total:,}" if self._total else "")]
        parts.append(f"after {_clock(elapsed)}")
        if self._total is not None and fresh > 0 and self._done < self._total:
            parts.append(f"left {_clock(elapsed / fresh * (self._total - self._done))}")
        if self._figures:
            parts.append(_written(self._figures))
        self._console.print(Text("  ".join(parts)), soft_wrap=True)
        self._shown = now


class Terminal:
    """Reports progress on stderr."""

    def __init__(self) -> None:
        self._console = open_console(stderr=True)
        self._console.quiet = self._console.quiet or verbosity().quiet

    def say(self, text: str) -> None:
        """Tell one line."""
        self._console.print(Text(text), soft_wrap=True)

    def error(self, text: str) -> None:
        """Tell what went wrong, whichever process it is."""
        self._console.quiet = False
        self._console.print(Text(f"error: {text}", style="bold red"), soft_wrap=True)

    @contextmanager
    def task(self, name: str, total: int | None, done: int = 0) -> Iterator[_Bar | _Log]:
        """Show a bar; where stderr is no terminal, a line every half minute and one at the end.

        Work of unknown length is shown while it lasts only.
        """
        if not self._console.is_terminal:
            log = _Log(self._console, name, total, done)
            try:
                yield log
            finally:
                log.end()
            return
        with _bars(self._console, total is None) as progress:
            width = max(8, self._console.width - NUMBERS_WIDTH)
            task = progress.add_task(
                middle_cut(name, width), total=total, completed=done, figures=""
            )
            bar = _Bar(progress, task)
            yield bar
            bar.flush()


def _bars(console: Console, transient: bool) -> Progress:
    """Lay a bar out for the width there is: no number of it is ever cut."""

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


def _written(figures: dict[str, str]) -> str:
    return "  ".join(
        value if key == "speed" else f"{key} {value}" for key, value in figures.items()
    )


def _clock(seconds: float) -> str:
    """Write a time as 0:01:30."""
    return str(timedelta(seconds=round(seconds)))
