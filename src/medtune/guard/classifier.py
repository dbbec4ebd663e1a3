"""A small linear classifier of texts.

Words and pieces of words, weighed (tf-idf) and put through a logistic regression: it is quick, can
be read, and some hundred labelled lines are enough for it.  It is kept as JSON, not as a pickle,
which could run anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtune.core.records import Record

Floats = NDArray[np.float64]


class Weights(Record):
    """A trained classifier."""

    labels: tuple[str, ...]
    words: dict[str, int]
    """Column of each word or pair of words."""
    pieces: dict[str, int]
    """Column of each piece of a word, counted from 0 again."""
    rarity: tuple[float, ...]
    """Inverse document frequency of each column, words first."""
    weights: tuple[tuple[float, ...], ...]
    """`[label][column]`."""
    bias: tuple[float, ...]
    temperature: float
    """Divides the logits; fitted on texts that each fold of a cross-validation left out."""
    trained_on: str
    """Hash of texts and labels."""


class Classifier:
    """Tells what a text is.

    Args:
        weights: As trained.
    """

    def __init__(self, weights: Weights) -> None:
        self.labels = weights.labels
        self._words, self._pieces = counters(weights.words, weights.pieces)
        self._rarity = np.array(weights.rarity)
        self._matrix = np.array(weights.weights).T / weights.temperature
        self._bias = np.array(weights.bias) / weights.temperature

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Return the probability of each label, `[text, label]`."""
        features = weighed(self._words, self._pieces, self._rarity, texts)
        return softmax(features @ self._matrix + self._bias)


def softmax(logits: Floats) -> Floats:
    """Turn logits, `[text, label]`, into probabilities."""
    found: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found


def counters(words: dict[str, int] | None, pieces: dict[str, int] | None) -> tuple[Any, Any]:
    """Make counters of words (and pairs) and of pieces of words, 3 to 5 letters.

    Args:
        words: Column of each word; None learns them.
        pieces: Column of each piece; None learns them.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    return (
        CountVectorizer(
            ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", min_df=2, vocabulary=words
        ),
        CountVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=5, vocabulary=pieces),
    )


def weighed(words: Any, pieces: Any, rarity: Floats, texts: Sequence[str]) -> Any:
    """Turn counts into weights: logarithm of the count times rarity, each half of length 1.

    Returns:
        `[text, column]`, sparse, words first.
    """
    from scipy import sparse
    from sklearn.preprocessing import normalize

    halves, start = [], 0
    for counter in (words, pieces):
        counts = counter.transform(texts).astype(np.float64)
        counts.data = 1 + np.log(counts.data)
        width = counts.shape[1]
        halves.append(normalize(counts.multiply(rarity[start : start + width]).tocsr()))
        start += width
    return sparse.hstack(halves).tocsr()
