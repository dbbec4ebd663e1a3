"""Protocols to report the progress of long work; the command line decides how to show it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class ProgressTask(Protocol):
    """A task whose progress is shown."""

    def advance(self, amount: int = 1, **figures: str) -> None:
        """Advance by `amount`; figures (loss, tokens/s) are shown beside the bar."""
        ...


class Progress(Protocol):
    """A receiver of progress reports."""

    def log_message(self, text: str) -> None:
        """Show one line of text."""
        ...

    def task(
        self, name: str, total: int | None, done: int = 0
    ) -> AbstractContextManager[ProgressTask]:
        """Open a task of `total` units (None: unknown), of which `done` are complete."""
        ...


class NoProgress:
    """A receiver that ignores all progress reports; it is also the task that it opens."""

    def log_message(self, text: str) -> None:
        """Ignore the line."""

    def task(
        self,
        name: str,  # noqa: ARG002
        total: int | None,  # noqa: ARG002
        done: int = 0,  # noqa: ARG002
    ) -> AbstractContextManager[ProgressTask]:
        """Open a task that is not shown."""
        return nullcontext(self)

    def advance(self, amount: int = 1, **figures: str) -> None:
        """Ignore the advance."""
