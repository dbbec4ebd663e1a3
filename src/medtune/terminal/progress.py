"""Progress and messages on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from medtune.terminal.console import open_console


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._pending = 0
        self._shown = 0.0

    def advance(self, amount: int = 1, **figures: str) -> None:
        self._pending += amount
        # Redrawing costs more than a row of data does.
        if figures or time.monotonic() - self._shown > 0.05:
            self.flush(**figures)

    @property
    def held_back(self) -> bool:
        return self._pending > 0

    def flush(self, **figures: str) -> None:
        """Show what was held back."""
        text = "  ".join(
            value if key == "speed" else f"{key} {value}" for key, value in figures.items()
        )
        self._progress.update(self._task, advance=self._pending, figures=text)
        self._pending = 0
        self._shown = time.monotonic()


class Terminal:
    """Reports progress on stderr."""

    def __init__(self) -> None:
        self._console = open_console(stderr=True)

    def say(self, text: str) -> None:
        """Tell one line."""
        self._console.print(Text(text), soft_wrap=True)

    def error(self, text: str) -> None:
        """Tell what went wrong, whichever process it is."""
        self._console.quiet = False
        self._console.print(Text(f"error: {text}", style="bold red"), soft_wrap=True)

    @contextmanager
    def task(self, name: str, total: int | None, done: int = 0) -> Iterator[_Bar]:
        """Show a bar; where stderr is no terminal, one line at the end.

        Work of unknown length is shown while it lasts only.
        """
        left = (TextColumn("left"), TimeRemainingColumn()) if total is not None else ()
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            *left,
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            transient=total is None,
            disable=total is None and not self._console.is_terminal,
        )
        with progress:
            bar = _Bar(progress, progress.add_task(name, total=total, completed=done, figures=""))
            yield bar
            if bar.held_back:
                bar.flush()
