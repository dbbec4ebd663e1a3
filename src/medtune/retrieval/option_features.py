"""Features of the options of a question, from searches with the stem and each option."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medtune.retrieval.dense import HybridIndex
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import FeatureName, Passage, SearchHit
from medtune.retrieval.words import load_splitter, share_found

TOP = 10
"""Best passages of a search that the features read."""
TOP_SENTENCES = 5
"""Best passages of a search whose sentences are compared."""
SHARPNESS = 4
"""Power of a passage's relative score that is its weight in a mean over passages."""
PLAIN_FEATURES: tuple[FeatureName, ...] = ("best",)
ALL_FEATURES: tuple[FeatureName, ...] = (
    "first",
    "gain",
    "question best",
    "answers",
    "wrong options",
    "explanations",
    "sentence",
)
_SENTENCE_END = re.compile(r"(?<=[.;:?!])\s+|\n+|•|->")

Words = frozenset[str]
Hits = Sequence[SearchHit]


def search_options(
    index: PassageIndex,
    stem: str,
    options: Sequence[str],
    features: Sequence[FeatureName] = PLAIN_FEATURES,
    excluded: Collection[int] = (),
) -> NDArray[np.float64]:
    """Search with the stem and each option, and compute the options' features.

    Args:
        index: The index.
        stem: The question without its options; may be empty.
        options: Texts of the options.
        features: Names of the features to compute.
        excluded: Rows of passages to leave out.

    Returns:
        `[option, feature]`.
    """
    searches = _QuestionSearches(index, stem, options, excluded)
    return np.array([_FEATURES[name](searches) for name in features], dtype=float).T


class _QuestionSearches:
    """The searches and passages of one question, each made when a feature first needs it."""

    def __init__(
        self, index: PassageIndex, stem: str, options: Sequence[str], excluded: Collection[int]
    ) -> None:
        # Of a hybrid index the words are searched alone: the sum of ranks is no score of words.
        self._hybrid = index if isinstance(index, HybridIndex) else None
        self.index = index if self._hybrid is None else self._hybrid.words
        self.options = options
        self._stem, self._excluded = stem, excluded
        self._splitter = load_splitter(index.manifest.stemmer)
        self._passages: dict[int, Passage] = {}
        self._sentences: dict[int, list[Words]] = {}

    @cached_property
    def joint(self) -> list[list[SearchHit]]:
        """Best passages for the stem with each option."""
        return self.index.search(self._joint_queries, TOP, "whole", self._excluded)

    @cached_property
    def joint_questions(self) -> list[list[SearchHit]]:
        """The same without explanations."""
        return self.index.search(self._joint_queries, 1, "question", self._excluded)

    @cached_property
    def option_alone(self) -> list[list[SearchHit]]:
        """Best passages for each option without the stem."""
        return self.index.search(self.options, TOP, "whole", self._excluded)

    @cached_property
    def stem_alone(self) -> list[SearchHit]:
        """Best passages for the stem without the options, by vectors where the index has them."""
        if self._hybrid is not None and self._stem:
            (hits,) = self._hybrid.search_vectors([self._stem], TOP, self._excluded)
        else:
            (hits,) = self.index.search([self._stem], TOP, "whole", self._excluded)
        return hits

    @cached_property
    def stem_words(self) -> Words:
        return self.words(self._stem)

    @cached_property
    def option_words(self) -> list[Words]:
        return [self.words(option) for option in self.options]

    @property
    def _joint_queries(self) -> list[str]:
        return [f"{self._stem} {option}" for option in self.options]

    def words(self, text: str) -> Words:
        return frozenset(self._splitter.split(text))

    def passage(self, hit: SearchHit) -> Passage:
        if hit.place not in self._passages:
            self._passages[hit.place] = self.index.passage(hit.place)
        return self._passages[hit.place]

    def sentences(self, hit: SearchHit) -> list[Words]:
        """Return the words of each sentence of a passage's text."""
        if hit.place not in self._sentences:
            parts = _SENTENCE_END.split(self.passage(hit).text)
            self._sentences[hit.place] = [words for words in map(self.words, parts) if words]
        return self._sentences[hit.place]

    def mean_share(self, texts: Callable[[Passage], Sequence[str]]) -> list[float]:
        """Return how much of each option is in the best passages for the stem, from 0 to 1.

        Of several texts of a passage, the one that contains most of the option counts.
        """
        if not self.stem_alone:
            return [0.0] * len(self.options)
        best = max(self.stem_alone[0].score, 1e-9)
        weights = [max(hit.score / best, 0.0) ** SHARPNESS for hit in self.stem_alone]
        found = [[self.words(text) for text in texts(self.passage(h))] for h in self.stem_alone]
        return [
            sum(
                weight * max((share_found(option, words) for words in candidates), default=0.0)
                for weight, candidates in zip(weights, found, strict=True)
            )
            / max(sum(weights), 1e-9)
            for option in self.option_words
        ]


def _best(searches: Sequence[Hits]) -> list[float]:
    return [hits[0].score if hits else 0.0 for hits in searches]


def _first(searches: _QuestionSearches) -> list[float]:
    scores = _best(searches.joint)
    return [float(score == max(scores)) for score in scores]


def _gains(searches: _QuestionSearches) -> list[float]:
    # Of a sum over all passages, all but the best add about exp(0) = 1 each.
    others = math.log(searches.index.manifest.passages)
    together, alone = (
        [float(np.logaddexp.reduce([others, *(hit.score for hit in hits)])) for hits in found]
        for found in (searches.joint, searches.option_alone)
    )
    return [a - b for a, b in zip(together, alone, strict=True)]


def _best_sentences(searches: _QuestionSearches) -> list[float]:
    stem = searches.stem_words
    found = []
    for option, hits in zip(searches.option_words, searches.joint, strict=True):
        near = [*hits[:TOP_SENTENCES], *searches.stem_alone[:TOP_SENTENCES]]
        own, rest = option - stem, stem - option
        found.append(
            max(
                (
                    share_found(rest, sentence) * share_found(own, sentence)
                    for hit in near
                    for sentence in searches.sentences(hit)
                ),
                default=0.0,
            )
        )
    return found


_FEATURES: dict[FeatureName, Callable[[_QuestionSearches], list[float]]] = {
    "best": lambda searches: _best(searches.joint),
    "first": _first,
    "gain": _gains,
    "question best": lambda searches: _best(searches.joint_questions),
    "answers": lambda s: s.mean_share(lambda passage: [passage.answer or ""]),
    "wrong options": lambda s: s.mean_share(
        lambda passage: [option for option in passage.options if option != passage.answer]
    ),
    "explanations": lambda s: s.mean_share(lambda passage: [passage.text]),
    "sentence": _best_sentences,
}
