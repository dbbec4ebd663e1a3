"""Prefixes of the names of answer models that have no weights of their own."""

from __future__ import annotations

SEARCH_PREFIX = "search:"
"""Prefix of a model name that is a passage index's folder."""
MIX_PREFIX = "mix:"
"""Prefix of a model name that is a mixture's folder."""


def is_search_model(name: str) -> bool:
    """Return whether a model's name is that of a search."""
    return name.startswith(SEARCH_PREFIX)
