"""Search a text by patterns in a time that grows with its length and no faster.

A pattern that is quick on a question can take the square of the length on a text that is made for
it.  So no pattern is let loose on more than `WINDOW` characters at once: a match begins in a step
of `STEP` characters and ends within `REACH` behind it, and the next step follows.  Texts up to
`WINDOW` characters, as nearly all questions are, are searched as a whole.  Between steps other
threads have their turn, which they have not while `re` searches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

STEP = 400
"""Characters in which a match may begin before the window moves on."""
REACH = 600
"""Longest match that is found for certain; no sign of the guards is longer."""
WINDOW = STEP + REACH
By = Callable[[re.Match[str]], str]


def found(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Find all matches, from left to right, as `finditer` does."""
    start = 0
    while start <= len(text):
        whole = len(text) - start <= WINDOW
        stop = len(text) if whole else start + STEP
        for match in pattern.finditer(text, start, len(text) if whole else start + WINDOW):
            if match.start() >= stop and not whole:
                break
            yield match
            start = max(match.end(), match.start() + 1)
        if whole:
            return
        start = max(start, stop)


def first(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Find the first match, as `search` does."""
    return next(found(pattern, text), None)


def replaced(pattern: re.Pattern[str], by: str | By, text: str) -> str:
    """Put something in the place of every match, as `sub` does."""
    pieces, place = [], 0
    for match in found(pattern, text):
        pieces += [text[place : match.start()], by if isinstance(by, str) else by(match)]
        place = match.end()
    return "".join((*pieces, text[place:]))
