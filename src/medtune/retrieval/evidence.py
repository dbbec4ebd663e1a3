"""Find the passages of an open-book prompt, for training, evaluation and serving alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from medtune.core.experiment import RetrievalConfig
from medtune.core.records import Question
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import Passage

ELLIPSIS = " …"

Passages = tuple[tuple[str, ...], ...]
"""Texts of the passages, `[option][rank]`."""
CACHED_QUESTIONS = 8192


@dataclass(frozen=True, slots=True)
class EvidenceCounts:
    """Counts of the passages that prompts show."""

    cut: int
    """Passages that were cut to the most words."""
    without: int
    """Questions with a prompt that shows no passage, because none was found."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Passages of one question, with the number of those that were cut."""

    texts: Passages
    cut: int


@dataclass(frozen=True)
class EvidenceFinder:
    """Finds the passages that a prompt shows with a question."""

    index: PassageIndex
    settings: RetrievalConfig
    excluded: frozenset[int] = frozenset()
    """Rows of passages that no prompt may show: those that leak an evaluated question."""

    @property
    def per_option(self) -> bool:
        """Whether every option has passages of its own."""
        return self.settings.kind == "per-option"

    def find(self, stem: str, options: Sequence[str], excluded: Collection[int] = ()) -> Passages:
        """Find the texts of the passages; shared ones are the same for all options.

        An option, or a question, that finds no passage is shown without one.

        Args:
            stem: The question without its options; empty where it is hidden.
            options: Texts of the options.
            excluded: More rows to leave out, such as a training question's own passage.
        """
        return self._find_cached(stem, tuple(options), frozenset(excluded)).texts

    def count(self, questions: Iterable[Question]) -> EvidenceCounts:
        """Count the passages of questions, each found once and whoever asked before."""
        found = [self._find_cached(q.stem, q.options, frozenset()) for q in questions]
        return EvidenceCounts(
            cut=sum(one.cut for one in found),
            without=sum(not all(one.texts) for one in found),
        )

    @cached_property
    def _find_cached(self) -> Callable[[str, tuple[str, ...], frozenset[int]], _Evidence]:
        return lru_cache(CACHED_QUESTIONS)(self._find)

    def _find(self, stem: str, options: tuple[str, ...], excluded: frozenset[int]) -> _Evidence:
        if self.per_option:
            queries = [f"{stem} {option}" for option in options]
        elif self.settings.query == "stem":
            queries = [stem]
        else:
            # Sorted: the passages do not depend on the order of the options.
            queries = [" ".join((stem, *sorted(options)))]
        hits = self.index.search(
            queries, self.settings.passages, excluded=self.excluded.union(excluded)
        )
        found = [[self._shorten(self.index.passage(hit.place)) for hit in row] for row in hits]
        texts = [tuple(text for text, _ in row) for row in found]
        return _Evidence(
            tuple(texts if self.per_option else texts * len(options)),
            sum(cut for row in found for _, cut in row),
        )

    def hash_components(self) -> object:
        """Return what determines the passages beside the settings, for hashing.

        The passages that leak a question follow from the index and the questions.
        """
        return self.index.manifest.hash

    def _shorten(self, passage: Passage) -> tuple[str, bool]:
        """Return a passage in at most so many words, and whether it was cut."""
        text = " ".join(render_passage(passage).split())
        shown = cut_words(text, self.settings.words)
        return shown, shown != text


def cut_words(text: str, words: int) -> str:
    """Cut a text to at most so many words; one that was cut before is not marked twice."""
    kept = text.removesuffix(ELLIPSIS).split()
    return text if len(kept) <= words else " ".join(kept[:words]) + ELLIPSIS


def render_passage(passage: Passage) -> str:
    """Render a passage as text: question, right answer and explanation, or the text alone."""
    if passage.question is None:
        return passage.text
    return f"{passage.question} {passage.answer}. {passage.text}".strip()
