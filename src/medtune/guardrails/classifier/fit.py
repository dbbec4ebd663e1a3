"""Train a linear text classifier, reproducibly to the last stored digit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtune.core.records import content_hash
from medtune.guardrails.classifier.linear import TOKENIZERS, Floats, LinearWeights, softmax

FOLDS = 5
INVERSE_PENALTY = 10.0
"""Inverse of the regularization strength (scikit-learn's C)."""
MIN_TEXT_COUNTS = (2, 6)
"""Least number of texts that contain a word n-gram, a character n-gram."""
WEIGHT_DIGITS = 3
"""Decimals of the stored weights."""
FitTemperature = Callable[[Floats, NDArray[np.int64]], float]
"""Fits a temperature to probabilities, `[text, label]`, and true labels, `[text]`."""


def train_classifier(
    texts: Sequence[str], named: Sequence[str], labels: tuple[str, ...], heat: FitTemperature
) -> tuple[LinearWeights, Floats]:
    """Train a classifier on labelled texts.

    Args:
        texts: Training texts.
        named: Label of each text.
        labels: All labels, in the order of the probabilities.
        heat: Fits the temperature.

    Returns:
        The classifier, and the cross-validated probabilities of each text, `[text, label]`, after
        temperature scaling.
    """
    from sklearn.model_selection import StratifiedKFold

    truth = np.array([labels.index(name) for name in named])
    logits = np.zeros((len(texts), len(labels)))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for train, rest in folds.split(logits, truth):
        words, pieces, rarity, weights, bias = _fit_logistic_regression(
            [texts[i] for i in train], truth[train]
        )
        features = tfidf_features(words, pieces, rarity, [texts[i] for i in rest])
        logits[rest] = features @ weights.T + bias
    temperature = round(heat(softmax(logits), truth), WEIGHT_DIGITS)
    words, pieces, rarity, weights, bias = _fit_logistic_regression(texts, truth)
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


def tfidf_features(words: Any, pieces: Any, rarity: Floats, texts: Sequence[str]) -> Any:
    """Compute tf-idf features with sublinear counts; both halves have unit length.

    Returns:
        Sparse matrix `[text, column]`, word n-grams first.
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


def _count_vectorizer(cut: Callable[[str], list[str]], least: int) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer=cut, min_df=least)


def _fit_logistic_regression(
    texts: Sequence[str], truth: NDArray[np.int64]
) -> tuple[Any, Any, Floats, Floats, Floats]:
    """Fit the vectorizers, the inverse document frequencies and the logistic regression."""
    from sklearn.linear_model import LogisticRegression

    words, pieces = (
        _count_vectorizer(cut, often)
        for cut, often in zip(TOKENIZERS, MIN_TEXT_COUNTS, strict=True)
    )
    seen = [counter.fit_transform(texts) > 0 for counter in (words, pieces)]
    often = np.concatenate([np.asarray(some.sum(axis=0)).ravel() for some in seen])
    rarity = 1 + np.log((1 + len(texts)) / (1 + often))
    model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=2000, tol=1e-8)
    model.fit(tfidf_features(words, pieces, rarity, texts), truth)
    weights, bias = model.coef_, model.intercept_
    if len(bias) == 1:  # for two labels, scikit-learn fits their difference only
        weights, bias = np.vstack([-weights, weights]) / 2, np.array([-bias[0], bias[0]]) / 2
    return words, pieces, rarity, weights, bias


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), WEIGHT_DIGITS) for value in values)
