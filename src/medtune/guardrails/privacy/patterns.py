"""Building blocks of the identifier patterns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from medtune.guardrails.privacy.check_digits import keep_digits

CONTEXT_LENGTH = 160
"""Characters of context after a match."""


@dataclass(frozen=True)
class PatternMatch:
    """A match, from start to end in a whole text, and what follows it."""

    text: str
    start: int
    end: int

    @property
    def matched_text(self) -> str:
        """The matched text."""
        return self.text[self.start : self.end]

    @property
    def digits(self) -> str:
        """The digits of the matched text, those of other scripts as 0 to 9."""
        return keep_digits(self.matched_text)

    @cached_property
    def after(self) -> str:
        """The text after the match."""
        return self.text[self.end : self.end + CONTEXT_LENGTH]


Check = Callable[[PatternMatch], bool]


def accept_all(_place: PatternMatch) -> bool:
    """Accept every match."""
    return True


@dataclass(frozen=True)
class IdentifierPattern:
    """A pattern of one kind of identifier.

    Attributes:
        kind: name, phone, email, record, birth, address, insurance, document, device or web.
        pattern: Its group `it` is the identifier; without that group, the whole match is.
        check: Returns False for false positives.
    """

    kind: str
    pattern: re.Pattern[str]
    check: Check


def identifier_pattern(
    kind: str, *ways: str, check: Check = accept_all, case: bool = False
) -> IdentifierPattern:
    """Make the pattern of a kind of identifier that is written in any of several ways.

    The check returns False for false positives; `case` is whether case matters.
    """
    flags = 0 if case else re.IGNORECASE
    return IdentifierPattern(kind, re.compile("|".join(ways), flags), check)
