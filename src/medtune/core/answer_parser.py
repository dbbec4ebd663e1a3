"""The seam between an examination and what reads free answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class ParsedAnswer(Protocol):
    """What was read out of a free answer."""

    @property
    def chosen(self) -> int | None:
        """Index of the option; None when unparsed."""
        ...

    @property
    def reason(self) -> str:
        """The rule that read it, or why nothing was read."""
        ...


@dataclass(frozen=True, slots=True)
class Parser:
    """What reads free answers."""

    version: int
    """Grows whenever some text would be read otherwise: older results are stale then."""
    read: Callable[[str, Sequence[str]], ParsedAnswer]
    """(text, options) -> reading."""
