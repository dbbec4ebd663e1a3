"""One rule to choose an option by its score, with a tie-break that is neutral to position.

Scores tie in bf16, behind a server that rounds, or for a model that prefers nothing.  Taking the
first of equal scores would add a bias towards early letters that the model does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from medtune.core.records import normalize_option


def choose_option(scores: Sequence[float], stem: str, options: Sequence[str]) -> int:
    """Return the index of the highest score; ties are broken by a hash.

    The hash covers the texts of question and option only: the choice is the same in every run and
    for every order of the options, and no position is preferred.  Only exactly equal scores tie.
    """
    best = top_scoring_indices(scores)
    if len(best) == 1:
        return best[0]
    hashes = {
        place: hashlib.sha256(f"{stem}\0{normalize_option(options[place])}".encode()).digest()
        for place in best
    }
    return min(best, key=lambda place: hashes[place])


def top_scoring_indices(scores: Sequence[float]) -> list[int]:
    """Return the indices of the highest score; more than one is a tie."""
    top = max(scores)
    return [place for place, score in enumerate(scores) if score == top]
