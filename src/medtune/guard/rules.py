"""Readable rules: a reason, what gives it, and what takes it back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """One reason.

    Attributes:
        reason: Its code.
        signs: Patterns, any of which gives it; a space stands for any white space, and case does
            not count.
        unless: Patterns that take it back.
    """

    reason: str
    signs: tuple[str, ...]
    unless: tuple[str, ...] = ()
    _gives: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _takes: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_gives", _compiled(self.signs))
        object.__setattr__(self, "_takes", _compiled(self.unless) if self.unless else None)

    def fits(self, text: str) -> bool:
        """Tell whether a text gives this reason."""
        if self._gives.search(text) is None:
            return False
        return self._takes is None or self._takes.search(text) is None


def first(rules: Iterable[Rule], text: str) -> str | None:
    """Find the first reason that a text gives."""
    return next((rule.reason for rule in rules if rule.fits(text)), None)


def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    return re.compile(joined.replace(" ", r"\s+"), re.IGNORECASE)
