"""Find the passages of an open-book prompt, for training, evaluation and serving alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from medtune.core.experiment import RetrievalConfig
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import Passage

ELLIPSIS = " …"


Passages = tuple[tuple[str, ...], ...]
"""Texts of the passages, `[option][rank]`."""
CACHED_QUESTIONS = 2048


@dataclass(frozen=True)
class EvidenceFinder:
    """Finds the passages that a prompt shows with a question."""

    index: PassageIndex
    settings: RetrievalConfig
    excluded: frozenset[int] = frozenset()
    """Rows of passages that no prompt may show: those that leak an evaluated question."""
    _counts: dict[str, int] = field(default_factory=lambda: {"cut": 0})

    @property
    def per_option(self) -> bool:
        """Whether every option has passages of its own."""
        return self.settings.kind == "per-option"

    @property
    def cut(self) -> int:
        """Number of passages cut to the most words so far."""
        return self._counts["cut"]

    def find(self, stem: str, options: Sequence[str], excluded: Collection[int] = ()) -> Passages:
        """Find the texts of the passages; shared ones are the same for all options.

        Args:
            stem: The question without its options.
            options: Texts of the options.
            excluded: More rows to leave out, such as a training question's own passage.
        """
        return self._find_cached(stem, tuple(options), frozenset(excluded))

    @cached_property
    def _find_cached(self) -> Callable[[str, tuple[str, ...], frozenset[int]], Passages]:
        return lru_cache(CACHED_QUESTIONS)(self._find)

    def _find(self, stem: str, options: tuple[str, ...], excluded: frozenset[int]) -> Passages:
        if self.per_option:
            queries = [f"{stem} {option}" for option in options]
        elif self.settings.query == "stem":
            queries = [stem]
        else:
            queries = [" ".join((stem, *options))]
        hits = self.index.search(
            queries, self.settings.passages, excluded=self.excluded.union(excluded)
        )
        found = [tuple(self._shorten(self.index.passage(hit.place)) for hit in row) for row in hits]
        return tuple(found if self.per_option else found * len(options))

    def hash_components(self) -> object:
        """Return what determines the passages beside the settings, for hashing."""
        return [self.index.manifest.hash, sorted(self.excluded)]

    def _shorten(self, passage: Passage) -> str:
        """Return a passage in at most so many words."""
        words = render_passage(passage).split()
        if len(words) <= self.settings.words:
            return " ".join(words)
        self._counts["cut"] += 1
        return " ".join(words[: self.settings.words]) + ELLIPSIS


def render_passage(passage: Passage) -> str:
    """Render a passage as text: question, right answer and explanation, or the text alone."""
    if passage.question is None:
        return passage.text
    return f"{passage.question} {passage.answer}. {passage.text}".strip()
