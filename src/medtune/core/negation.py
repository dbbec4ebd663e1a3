"""Detect negated stems: "all of the following except", "which is not", "least"."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
_NEGATIONS = frozenset(
    (
        "except not false least incorrect untrue wrong excluding exclude exception without "
        "never cannot unlikely inappropriate contraindicated"
    ).split()
)


def is_negated(stem: str) -> bool:
    """Return whether a stem is negated; it may be canonical (`data.dedup`) or as written."""
    plain = stem.casefold().replace("’", "'").replace("n't", " not")
    return not _NEGATIONS.isdisjoint(_WORD.findall(plain))
