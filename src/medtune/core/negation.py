"""Stems that ask for the exception: "all of the following except", "which is not", "least"."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
_NEGATIONS = frozenset(
    (
        "except not false least incorrect untrue wrong excluding exclude exception without "
        "never cannot unlikely inappropriate contraindicated"
    ).split()
)


def asks_exception(stem: str) -> bool:
    """Tell whether a stem is negated; it may be folded (`data.dedup.canonical_form`) or as it was written."""
    plain = stem.casefold().replace("’", "'").replace("n't", " not")
    return not _NEGATIONS.isdisjoint(_WORD.findall(plain))
