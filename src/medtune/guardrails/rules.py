"""Readable rules: a reason, what gives it, and what takes it back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from medtune.guardrails import linear_search

_BLANK = re.compile(r" |(?<!\\)\[(?:\\.|[^\]\\])*\]")
"""A blank in a pattern, or a class of characters."""


@dataclass(frozen=True)
class Rule:
    """One reason.

    Attributes:
        reason: Its code.
        signs: Patterns, any of which gives it; a space stands for white space, and case does not
            count.
        unless: Patterns that take it back.
    """

    reason: str
    signs: tuple[str, ...]
    unless: tuple[str, ...] = ()
    _gives: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)
    _takes: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_gives", _compiled(self.signs))
        object.__setattr__(self, "_takes", _compiled(self.unless))

    def fits(self, text: str) -> bool:
        """Tell whether a text gives this reason."""
        return _any(self._gives, text) and not _any(self._takes, text)


def first(rules: Iterable[Rule], text: str) -> str | None:
    """Find the first reason that a text gives."""
    return next((rule.reason for rule in rules if rule.fits(text)), None)


def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(_BLANK.sub(_any_blank, way), re.IGNORECASE) for way in patterns)


def _any_blank(match: re.Match[str]) -> str:
    # Bounded, for a text is folded: only what was quoted leaves a few blanks.
    return r"\s{1,9}" if match[0] == " " else match[0].replace(" ", r"\s")


def _any(patterns: tuple[re.Pattern[str], ...], text: str) -> bool:
    return any(linear_search.first(pattern, text) is not None for pattern in patterns)
