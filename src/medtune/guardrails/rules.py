"""Pattern rules: a reason code, patterns that give it, and exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from medtune.core.schemas.guardrails import Action, CardName, GuardName, GuardVerdict
from medtune.guardrails import linear_search

_BLANK = re.compile(r" \??|(?<!\\)\[(?:\\.|[^\]\\])*\]")
"""A space in a pattern, one that may be missing, or a character class."""


@dataclass(frozen=True)
class Rule:
    """A reason code and its patterns.

    Attributes:
        reason: The reason code.
        signs: Patterns, any of which matches; a space stands for white space, and case is ignored.
        unless: Patterns of exceptions.
    """

    reason: str
    signs: tuple[str, ...]
    unless: tuple[str, ...] = ()
    _gives: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)
    _takes: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_gives", _compile_patterns(self.signs))
        object.__setattr__(self, "_takes", _compile_patterns(self.unless))

    def matches(self, text: str) -> bool:
        """Return whether a text matches the rule and none of its exceptions."""
        return _matches_any(self._gives, text) and not _matches_any(self._takes, text)


def make_verdict(
    guard: GuardName,
    action: Action,
    reason: str | None,
    card: CardName | None = None,
    probability: float | None = None,
) -> GuardVerdict:
    """Make a guard's verdict: its action and card if there is a reason, else "allow"."""
    if reason is None:
        return GuardVerdict(guard=guard, action="allow", probability=probability)
    return GuardVerdict(
        guard=guard, action=action, reason=reason, card=card, probability=probability
    )


def first_reason(rules: Iterable[Rule], text: str) -> str | None:
    """Return the reason code of the first matching rule; None if none matches."""
    return next((rule.reason for rule in rules if rule.matches(text)), None)


def _compile_patterns(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Compile patterns; those that begin at a word as one, which tries only where one begins."""
    expanded = [_BLANK.sub(_expand_blanks, pattern) for pattern in patterns]
    words = [pattern for pattern in expanded if pattern.startswith(r"\b")]
    rest = [pattern for pattern in expanded if pattern not in words]
    joined = ["|".join(words)] if words else []
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in joined + rest)


def _expand_blanks(match: re.Match[str]) -> str:
    # Bounded, since a normalized text has single spaces; removed quotes leave a few more.
    if match[0][0] == " ":
        return r"\s{0,9}" if match[0] == " ?" else r"\s{1,9}"
    return match[0].replace(" ", r"\s")


def _matches_any(patterns: tuple[re.Pattern[str], ...], text: str) -> bool:
    return any(linear_search.find_first(pattern, text) is not None for pattern in patterns)
