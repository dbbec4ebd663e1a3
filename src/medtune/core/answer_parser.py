"""Interface between the evaluation and the parsers of free answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class ParsedAnswer(Protocol):
    """The option that a parser read from a free answer."""

    @property
    def chosen(self) -> int | None:
        """Index of the option; None when unparsed."""
        ...

    @property
    def reason(self) -> str:
        """Rule that read the answer, or why none could be read."""
        ...


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser of free answers, with its version."""

    version: int
    """Increased whenever the reading of some text changes; older results are then stale."""
    read: Callable[[str, Sequence[str]], ParsedAnswer]
    """(text, options) -> parsed answer."""
