"""How long work tells where it stands, without printing: the command line decides how it looks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class ProgressTask(Protocol):
    """One piece of work with a known length."""

    def advance(self, amount: int = 1, **figures: str) -> None:
        """Move on; figures (loss, tokens/s) are shown beside the bar."""
        ...


class Progress(Protocol):
    """Where long work reports to."""

    def say(self, text: str) -> None:
        """Tell one line."""
        ...

    def task(
        self, name: str, total: int | None, done: int = 0
    ) -> AbstractContextManager[ProgressTask]:
        """Open a bar of `total` units (None: nobody knows), `done` of them behind us already."""
        ...


class NoProgress:
    """Tells nobody; the progress, and every task of it."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def task(
        self,
        name: str,  # noqa: ARG002
        total: int | None,  # noqa: ARG002
        done: int = 0,  # noqa: ARG002
    ) -> AbstractContextManager[ProgressTask]:
        """Open a bar that nobody sees."""
        return nullcontext(self)

    def advance(self, amount: int = 1, **figures: str) -> None:
        """Drop the movement."""
