"""Search by regular expressions in time linear in the length of the text.

A pattern that is fast on questions can take quadratic time on a crafted text. So a pattern is never
run on more than `WINDOW` characters at once: a match begins within a step of `STEP` characters and
ends within `REACH` after it, then the next step follows. Texts up to `WINDOW` characters, as nearly
all questions are, are searched as a whole. Other threads can run between steps, but not while `re`
searches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

STEP = 400
"""Characters in which a match may begin before the window moves."""
REACH = 600
"""Longest match that is certainly found whole; only links and addresses of mail can be longer."""
WINDOW = STEP + REACH
By = Callable[[re.Match[str]], str]


def find_all(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield all matches from left to right, like `finditer`."""
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


def find_first(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the first match, like `search`."""
    return next(find_all(pattern, text), None)


def replace_all(pattern: re.Pattern[str], by: str | By, text: str) -> str:
    """Replace every match, like `sub`."""
    pieces, place = [], 0
    for match in find_all(pattern, text):
        pieces += [text[place : match.start()], by if isinstance(by, str) else by(match)]
        place = match.end()
    return "".join((*pieces, text[place:]))
