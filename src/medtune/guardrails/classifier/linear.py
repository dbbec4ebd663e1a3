"""A small linear classifier of texts.

It is a logistic regression on the tf-idf weights of word and character n-grams: it is fast, can be
inspected, and needs only some hundred labelled lines. It is stored as compressed JSON, not as a
pickle, which could execute code.
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
NGRAM_SIZES = (3, 4, 5)
"""Lengths of character n-grams."""
_WORD = re.compile(r"\w+")


class LinearWeights(Record):
    """The weights of a trained classifier."""

    labels: tuple[str, ...]
    words: dict[str, int]
    """Column of each word unigram and bigram."""
    pieces: dict[str, int]
    """Column of each character n-gram, counted from 0 again."""
    rarity: tuple[float, ...]
    """Inverse document frequency of each column, word n-grams first."""
    weights: tuple[tuple[float, ...], ...]
    """`[label][column]`."""
    bias: tuple[float, ...]
    temperature: float
    """Divides the logits; fitted on cross-validated logits."""
    trained_on: str
    """Hash of the training texts and labels."""


class TextClassifier:
    """A linear text classifier."""

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
        """Compute the logits of one text; much faster than sparse matrices with one row."""
        logits, start = self._bias, 0
        for columns, cut in zip(self._halves, TOKENIZERS, strict=True):
            known = Counter(map(columns.get, cut(text)))
            del known[None]
            if known:
                places, times = np.array([*known]), np.array([*known.values()])
                values = (1 + np.log(times)) * self._rarity[start + places]
                length = np.sqrt((values * values).sum())
                logits = logits + values @ self._matrix[start + places] / length
            start += len(columns)
        return logits


def softmax(logits: Floats) -> Floats:
    """Convert logits, `[text, label]`, to probabilities."""
    found: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found


def word_ngrams(text: str) -> list[str]:
    """Split a text into word unigrams and bigrams."""
    words = _WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def char_ngrams(text: str) -> list[str]:
    """Split a text into character n-grams of its padded words, 3 to 5 characters long."""
    padded = [f" {word} " for word in text.lower().split()]
    return [
        word[at : at + size]
        for word in padded
        for size in NGRAM_SIZES
        for at in range(max(1, len(word) - size + 1))
    ]


TOKENIZERS = (word_ngrams, char_ngrams)
