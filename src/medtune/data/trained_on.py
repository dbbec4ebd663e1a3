"""Hashes of the questions that a model was trained on, saved beside its weights.

Saving texts would make an adapter's folder a copy of its data, which a licence may forbid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from medtune.core.records import Question, content_hash
from medtune.data.dedup.canonical_form import canonicalize_question

HASH_DIGITS = 16
"""Hex digits of a hash; the chance of a collision among a million questions is 3 in 10 ** 8."""


def question_hash(question: Question) -> str:
    """Hash a question's canonical stem and options: case, punctuation and order are ignored."""
    plain = canonicalize_question(question)
    return content_hash([plain.stem, plain.options])[:HASH_DIGITS]


def question_hashes(questions: Iterable[Question]) -> tuple[str, ...]:
    """Return the sorted, distinct hashes of questions."""
    return tuple(sorted({question_hash(question) for question in questions}))


def count_trained_on(questions: Iterable[Question], hashes: Collection[str]) -> int:
    """Count the questions whose hash is among those of a training split.

    A paraphrase has another hash and is not found: the count is a lower bound.
    """
    known = frozenset(hashes)
    return sum(question_hash(question) in known for question in questions)
