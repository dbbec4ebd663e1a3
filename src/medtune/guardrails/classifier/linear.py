"""A small linear classifier of texts.

Words and pieces of words, weighed (tf-idf) and put through a logistic regression: it is quick, can
be read, and some hundred labelled lines are enough for it.  It is kept as compressed JSON, not as
a pickle, which could run anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medtune.core.records import Record

Floats = NDArray[np.float64]
SIZES = (3, 4, 5)
"""Letters of a piece."""
_WORD = re.compile(r"\w+")


class LinearWeights(Record):
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

    def __init__(self, weights: LinearWeights) -> None:
        self.labels = weights.labels
        self._halves = (weights.words, weights.pieces)
        self._matrix = np.array(weights.weights).T / weights.temperature
        self._bias = np.array(weights.bias) / weights.temperature
        self._rarity = np.array(weights.rarity)

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Return the probability of each label, `[text, label]`."""
        return softmax(np.array([self._logits(text) for text in texts]))

    def _logits(self, text: str) -> Floats:
        """Weigh a text as `learning.weighed` does; a library for matrices is slow with one row."""
        logits, start = self._bias, 0
        for columns, cut in zip(self._halves, CUTS, strict=True):
            counts = Counter(cut(text))
            known = [(columns[part], count) for part, count in counts.items() if part in columns]
            if known:
                places, times = (np.array(some) for some in zip(*known, strict=True))
                values = (1 + np.log(times)) * self._rarity[start + places]
                length = np.sqrt((values * values).sum())
                logits = logits + values @ self._matrix[start + places] / length
            start += len(columns)
        return logits


def softmax(logits: Floats) -> Floats:
    """Turn logits, `[text, label]`, into probabilities."""
    found: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found


def words_of(text: str) -> list[str]:
    """Cut a text into words, and pairs of words that follow each other."""
    words = _WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def pieces_of(text: str) -> list[str]:
    """Cut a text into pieces of its words, 3 to 5 letters, the blanks at their ends included."""
    padded = [f" {word} " for word in text.lower().split()]
    return [
        word[at : at + size]
        for word in padded
        for size in SIZES
        for at in range(max(1, len(word) - size + 1))
    ]


CUTS = (words_of, pieces_of)
