"""Which questions a model was trained on, as hashes that travel beside its weights.

Texts would make an adapter's folder a copy of its data, which a licence may forbid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from medtune.core.records import Question, content_hash
from medtune.data.dedup.canonical_form import folded

DIGITS = 16
"""Hex digits of a hash: of a million questions no two share one but for 3 in 10 ** 8 cases."""


def question_hash(question: Question) -> str:
    """Hash a question's stem and options, folded: case, punctuation and order do not count."""
    plain = folded(question)
    return content_hash([plain.stem, plain.options])[:DIGITS]


def question_hashes(questions: Iterable[Question]) -> tuple[str, ...]:
    """Hash questions: sorted, each once."""
    return tuple(sorted({question_hash(question) for question in questions}))


def count_trained_on(questions: Iterable[Question], hashes: Collection[str]) -> int:
    """Count the questions whose hash is among those of a training split.

    A paraphrase has another hash and is not found: the count is a least one.
    """
    known = frozenset(hashes)
    return sum(question_hash(question) in known for question in questions)
