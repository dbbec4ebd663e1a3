"""Train a classifier: the same texts give the same weights, to the last digit that is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtune.core.records import content_hash
from medtune.guardrails.classifier.linear import CUTS, Floats, LinearWeights, softmax

FOLDS = 5
STRENGTH = 10.0
"""Inverse of the penalty on weights."""
LEAST = (2, 6)
"""Texts in which a word, a piece has to occur."""
DIGITS = 3
"""Of the weights that are kept."""
Heat = Callable[[Floats, NDArray[np.int64]], float]
"""Fits a temperature to probabilities, `[text, label]`, and the right labels, `[text]`."""


def learn(
    texts: Sequence[str], named: Sequence[str], labels: tuple[str, ...], heat: Heat
) -> tuple[LinearWeights, Floats]:
    """Train on labelled texts.

    Args:
        texts: To learn from.
        named: The label of each.
        labels: In the order in which probabilities are given.
        heat: Fits the temperature.

    Returns:
        The classifier, and for each text the probabilities that a classifier gives it which never
        saw it, `[text, label]`, after the temperature.
    """
    from sklearn.model_selection import StratifiedKFold

    truth = np.array([labels.index(name) for name in named])
    logits = np.zeros((len(texts), len(labels)))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for train, rest in folds.split(logits, truth):
        words, pieces, rarity, weights, bias = _fit([texts[i] for i in train], truth[train])
        features = weighed(words, pieces, rarity, [texts[i] for i in rest])
        logits[rest] = features @ weights.T + bias
    temperature = round(heat(softmax(logits), truth), DIGITS)
    words, pieces, rarity, weights, bias = _fit(texts, truth)
    trained = LinearWeights(
        labels=labels,
        words={word: int(at) for word, at in sorted(words.vocabulary_.items())},
        pieces={piece: int(at) for piece, at in sorted(pieces.vocabulary_.items())},
        rarity=_rounded(rarity),
        weights=tuple(_rounded(row) for row in weights),
        bias=_rounded(bias),
        temperature=temperature,
        trained_on=content_hash([list(texts), list(named)]),
    )
    return trained, softmax(logits / temperature)


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


def _counter(cut: Callable[[str], list[str]], least: int) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer=cut, min_df=least)


def _fit(texts: Sequence[str], truth: NDArray[np.int64]) -> tuple[Any, Any, Floats, Floats, Floats]:
    """Fit counters, rarities, and a regression with a row for each label."""
    from sklearn.linear_model import LogisticRegression

    words, pieces = (_counter(cut, often) for cut, often in zip(CUTS, LEAST, strict=True))
    seen = [counter.fit_transform(texts) > 0 for counter in (words, pieces)]
    often = np.concatenate([np.asarray(some.sum(axis=0)).ravel() for some in seen])
    rarity = 1 + np.log((1 + len(texts)) / (1 + often))
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000, tol=1e-8)
    model.fit(weighed(words, pieces, rarity, texts), truth)
    weights, bias = model.coef_, model.intercept_
    if len(bias) == 1:  # of two labels it has the difference only
        weights, bias = np.vstack([-weights, weights]) / 2, np.array([-bias[0], bias[0]]) / 2
    return words, pieces, rarity, weights, bias


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), DIGITS) for value in values)
