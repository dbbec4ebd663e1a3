"""Names of answer models: prefixes of those without weights of their own, labels that differ."""

from __future__ import annotations

import re
from pathlib import Path

SEARCH_PREFIX = "search:"
"""Prefix of a model name that is a passage index's folder."""
MIX_PREFIX = "mix:"
"""Prefix of a model name that is a mixture's folder."""
_WORD = re.compile(r"[^\W_]+")
_HASH = re.compile(r"[0-9a-f]{8,}")


def is_search_model(name: str) -> bool:
    """Return whether a model's name is that of a search."""
    return name.startswith(SEARCH_PREFIX)


def label_with_dtype(name: str, dtype: str) -> str:
    """Return the label of a model that is opened in a dtype; auto is not said."""
    return name if dtype == "auto" else f"{name}, {dtype}"


def disambiguate_labels(a: tuple[str, Path], b: tuple[str, Path]) -> tuple[str, str]:
    """Return the labels of two evaluations with their folders, made distinct if they are equal.

    Added are the words of each folder's path that the other path lacks; hashes are added only if
    no other word differs.
    """
    if a[0] != b[0]:
        return a[0], b[0]
    words_a, words_b = (_WORD.findall(str(folder.resolve())) for _, folder in (a, b))
    own_a = [word for word in words_a if word not in words_b]
    own_b = [word for word in words_b if word not in words_a]
    telling_a, telling_b = ([w for w in own if not _HASH.fullmatch(w)] for own in (own_a, own_b))
    if telling_a or telling_b:
        own_a, own_b = telling_a, telling_b
    if not own_a and not own_b:
        return f"{a[0]}, first", f"{b[0]}, second"
    return _append_words(a[0], own_a), _append_words(b[0], own_b)


def _append_words(label: str, words: list[str]) -> str:
    return f"{label} ({' '.join(words)})" if words else label
