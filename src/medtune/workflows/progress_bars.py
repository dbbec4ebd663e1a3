"""Show progress to callers from Python: a bar in a terminal or a notebook, else nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medtune.core.progress import NoProgress, Progress, ProgressTask

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBars:
    """Progress reports on stderr as bars of tqdm, which need no widgets in a notebook."""

    def log_message(self, text: str) -> None:
        """Write one line above the bars."""
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)

    @contextmanager
    def task(self, name: str, total: int | None, done: int = 0) -> Iterator[ProgressTask]:
        """Show a bar until the work ends."""
        from tqdm import tqdm

        with tqdm(desc=name, total=total, initial=done, leave=False, file=sys.stderr) as bar:
            yield _TqdmBar(bar)


class _TqdmBar:
    def __init__(self, bar: tqdm[None]) -> None:
        self._bar = bar

    def advance(self, amount: int = 1, **figures: str) -> None:
        if figures:
            self._bar.set_postfix(figures, refresh=False)
        self._bar.update(amount)


def choose_progress(progress: Progress | None) -> Progress:
    """Return the given progress; without one, bars in a terminal or a notebook, else none."""
    if progress is not None:
        return progress
    interactive = "ipykernel" in sys.modules or sys.stderr.isatty()
    return ProgressBars() if interactive else NoProgress()
