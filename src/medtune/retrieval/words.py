"""Split texts into the words that are searched: case-folded and stemmed."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from functools import cache, lru_cache
from typing import Any

from medtune.core.errors import RetrievalError

NO_STEMMER = "none"
CACHED_STEMS = 1 << 17
"""Words whose stems are kept: an endpoint is asked new ones as long as it runs."""
_WORD = re.compile(r"\w+")
STOP_WORDS = frozenset(
    (
        "an and are as at be but by for from has have in into is it its of on or such that the "
        "their then there these they this to was were will with which what following all"
    ).split()
)
"""Function words; single letters stay, because "vitamin A" is not "vitamin B"."""


class WordSplitter:
    """Splits texts into stems; a word is seldom stemmed twice.

    Args:
        stemmer: Name of a Snowball stemmer, or "none".

    Raises:
        RetrievalError: There is no such stemmer.
    """

    def __init__(self, stemmer: str) -> None:
        self._stem = lru_cache(CACHED_STEMS)(_load_stemmer(stemmer))

    def split(self, text: str) -> list[str]:
        """Return the stems of a text, in order, without function words."""
        return [self._stem(w) for w in _WORD.findall(text.casefold()) if w not in STOP_WORDS]


@cache
def load_splitter(stemmer: str) -> WordSplitter:
    """Return the splitter of a stemmer, whose stems are kept from one question to the next."""
    return WordSplitter(stemmer)


def share_found(wanted: AbstractSet[str], found: AbstractSet[str]) -> float:
    """Return the share of the wanted words that were found; 0 if none is wanted."""
    return len(wanted & found) / len(wanted) if wanted else 0.0


@cache
def _load_stemmer(name: str) -> Any:
    if name == NO_STEMMER:
        return str
    import Stemmer

    try:
        return Stemmer.Stemmer(name).stemWord
    except KeyError as error:
        raise RetrievalError(
            f"there is no stemmer {name!r}",
            expected=", ".join((*sorted(Stemmer.algorithms()), NO_STEMMER)),
        ) from error
