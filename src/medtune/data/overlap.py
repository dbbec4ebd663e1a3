"""Questions that stand in train and in an evaluated split: found and removed from train."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medtune.core.records import Question

# Signs stay: "<7" and ">7" are two options.
_WORDS = re.compile(r"[^\w<>=≤≥+%]+")


def overlap_key(question: Question) -> tuple[str, frozenset[str]]:
    """Identify a question: its stem and its set of options, case and punctuation folded.

    The order of the options does not count: another order is the same question.
    """
    return _fold(question.stem), frozenset(map(_fold, question.options))


def without_overlap(
    train: Sequence[Question], evaluated: Sequence[Question]
) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """Remove from train every question that an evaluated split holds too.

    Returns:
        The train questions kept, and the ids of those removed.
    """
    keys = {overlap_key(question) for question in evaluated}
    kept = tuple(question for question in train if overlap_key(question) not in keys)
    removed = tuple(question.id for question in train if overlap_key(question) in keys)
    return kept, removed


def _fold(text: str) -> str:
    return _WORDS.sub(" ", text.casefold()).strip()
