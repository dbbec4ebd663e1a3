"""Which option a model chooses, of its scores: one rule, wherever scores come from.

In bf16, behind a server that rounds, or by a model that says nothing, options tie.  The first of
equals would be the earlier letter, and a preference for positions that no model has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from medtune.core.records import normalized_option


def choose(scores: Sequence[float], stem: str, options: Sequence[str]) -> int:
    """Return the index of the highest score; of equal ones, one is drawn by lot.

    The lot depends on the texts of question and option alone: it is the same in every run and in
    every order of the options, and falls on every position alike.

    Args:
        scores: As they are compared, after any normalisation; equal means exactly equal.
        stem: The question.
        options: One text per score.
    """
    best = highest(scores)
    return best[0] if len(best) == 1 else min(best, key=lambda place: _lot(stem, options[place]))


def highest(scores: Sequence[float]) -> list[int]:
    """List the indices that hold the highest score: more than one is a tie."""
    top = max(scores)
    return [place for place, score in enumerate(scores) if score == top]


def _lot(stem: str, option: str) -> bytes:
    return hashlib.sha256(f"{stem}\0{normalized_option(option)}".encode()).digest()
