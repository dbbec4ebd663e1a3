"""What the signs of identifiers are made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

_SENTENCE = re.compile(r"[.?!](?=\s)|\n")
REACH = 160
"""Letters before and behind something that may tell what it is."""


@dataclass(frozen=True)
class PatternMatch:
    """Something that was found, where it stands.

    Attributes:
        text: All of it.
        start: Of what was found.
        end: Behind it.
    """

    text: str
    start: int
    end: int

    @property
    def found(self) -> str:
        """What was found."""
        return self.text[self.start : self.end]

    @cached_property
    def before(self) -> str:
        """What precedes it in its sentence."""
        return _SENTENCE.split(self.text[max(0, self.start - REACH) : self.start])[-1]

    @cached_property
    def after(self) -> str:
        """What follows it."""
        return self.text[self.end : self.end + REACH]

    @cached_property
    def rest(self) -> str:
        """What follows it in its sentence, with the stop."""
        stop = _SENTENCE.search(self.after)
        return self.after[: stop.end()] if stop else self.after


Check = Callable[[PatternMatch], bool]


def anything(_place: PatternMatch) -> bool:
    """Hold whatever has the pattern."""
    return True


@dataclass(frozen=True)
class IdentifierPattern:
    """How identifiers of one kind look.

    Attributes:
        kind: name, phone, email, record, birth, address, insurance, document, device or web.
        pattern: Its group `it` is the identifier, or all of it where there is none.
        check: Says no to what only looks like one.
    """

    kind: str
    pattern: re.Pattern[str]
    check: Check = anything


def pattern(*ways: str, case: bool = False) -> re.Pattern[str]:
    """Compile ways to write something.

    Args:
        ways: Any of them will do.
        case: Whether it counts.
    """
    return re.compile("|".join(ways), 0 if case else re.IGNORECASE)


UPPER = "A-ZÀ-ÖØ-Þ" + "".join(chr(c) for c in range(0x100, 0x250) if chr(c).isupper())
WORD = rf"[{UPPER}](?:(?>[\w'’]{{0,30}}?[a-zß-ÿ])[\w'’]*|\.)(?:-[{UPPER}][\w'’]+){{0,4}}"
"""A word with a capital, or an initial."""
