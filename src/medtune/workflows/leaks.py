"""Find passages that leak an evaluated question, by the verdict that clears training data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medtune.core.progress import Progress
from medtune.core.records import Question
from medtune.data.dedup.canonical_form import (
    CanonicalQuestion,
    canonicalize_question,
    canonicalize_text,
)
from medtune.data.dedup.is_duplicate import duplicate_kind
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import Passage

LEAKS_VERSION = 1
"""Version of the verdict on leaks; a new one makes saved searches stale."""
CANDIDATES = 20
"""Passages that are compared with each question: the best hits for its stem and its options."""
MIN_QUOTED_WORDS = 6
"""A text that quotes a stem of fewer words does not leak it."""


@dataclass(frozen=True, slots=True)
class NearestPassages:
    """The passages nearest to a question."""

    leaking: frozenset[int]
    """Rows of passages that are near-duplicates of the question, or quote it."""
    shared: Mapping[int, float]
    """Share of words that the stem has in common with each passage (Jaccard), by row."""

    def similarity(self, excluded: Collection[int]) -> float:
        """Return the largest share among passages that are not left out."""
        return max((s for row, s in self.shared.items() if row not in excluded), default=0.0)


@dataclass(frozen=True, slots=True)
class Leaks:
    """The passages that leak one of several questions."""

    excluded: frozenset[int]
    """Rows of these passages."""
    similarity: tuple[float, ...]
    """Largest share of words that each stem has in common with any other passage's question."""


def find_leaks(index: PassageIndex, questions: Sequence[Question], progress: Progress) -> Leaks:
    """Find the passages that leak any of the questions.

    Args:
        index: The passages.
        questions: Evaluated questions.
        progress: Progress to report to.
    """
    finder = LeakFinder(index)
    nearest = []
    with progress.task("leaks", len(questions)) as task:
        for question in questions:
            nearest.append(finder.find_nearest(question))
            task.advance()
    excluded = frozenset[int]().union(*(near.leaking for near in nearest))
    return Leaks(excluded, tuple(near.similarity(excluded) for near in nearest))


class LeakFinder:
    """Compares questions with the passages of an index."""

    def __init__(self, index: PassageIndex) -> None:
        self._index = index
        self._form = lru_cache(maxsize=1 << 16)(self._canonical_form)

    def find_nearest(self, question: Question) -> NearestPassages:
        """Find the passages nearest to a question, and those that leak it."""
        own = canonicalize_question(question)
        query = " ".join((question.stem, *question.options))
        (hits,) = self._index.search([query], CANDIDATES, "question")
        return NearestPassages(
            leaking=frozenset(hit.place for hit in hits if self._leaks(own, hit.place)),
            shared={hit.place: self._shared_words(own, hit.place) for hit in hits},
        )

    def find_leaking(self, question: Question, rows: Collection[int]) -> frozenset[int]:
        """Find those of some passages that leak a question."""
        own = canonicalize_question(question)
        return frozenset(row for row in rows if self._leaks(own, row))

    def _leaks(self, question: CanonicalQuestion, row: int) -> bool:
        form = self._form(row)
        if isinstance(form, CanonicalQuestion):
            return duplicate_kind(form, question) is not None
        quoted = f" {question.stem} " in f" {form} "
        return quoted and len(question.stem.split()) >= MIN_QUOTED_WORDS

    def _shared_words(self, question: CanonicalQuestion, row: int) -> float:
        form = self._form(row)
        ours = set(question.stem.split())
        theirs = set((form if isinstance(form, str) else form.stem).split())
        return len(ours & theirs) / max(1, len(ours | theirs))

    def _canonical_form(self, row: int) -> CanonicalQuestion | str:
        """Return the canonical form of a passage: a question, or the text of any other."""
        passage = self._index.passage(row)
        question = passage_question(passage)
        if question is None:
            return canonicalize_text(passage.full_text)
        return canonicalize_question(question)


def passage_question(passage: Passage) -> Question | None:
    """Return the question that a passage was made of; None for a piece of a text."""
    if passage.question is None or passage.answer not in passage.options:
        return None
    return Question(
        id=passage.id,
        stem=passage.question,
        options=passage.options,
        answer=passage.options.index(passage.answer),
        explanation=passage.text or None,
    )
