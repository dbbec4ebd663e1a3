"""Train a linear text classifier; on one machine, twice gives the same stored weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medtune.core.records import content_hash
from medtune.guardrails.classifier.linear import TOKENIZERS, Floats, LinearWeights, softmax

FOLDS = 5
INVERSE_PENALTY = 10.0
"""Inverse of the regularization strength (scikit-learn's C)."""
MIN_TEXT_COUNTS = (2, 6)
"""Least number of texts that contain a word n-gram, a character n-gram."""
WEIGHT_DIGITS = 2
"""Decimals of the stored weights."""
FitTemperature = Callable[[Floats, NDArray[np.int64]], float]
"""Fits a temperature to probabilities, `[text, label]`, and true labels, `[text]`."""


def train_classifier(
    texts: Sequence[str],
    named: Sequence[str],
    labels: tuple[str, ...],
    fit_temperature: FitTemperature,
) -> tuple[LinearWeights, Floats]:
    """Train a classifier on labelled texts: logistic regression on tf-idf features.

    The labels are in the order of the probabilities.

    Returns:
        The classifier, and the cross-validated probabilities of each text, `[text, label]`, after
        temperature scaling.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline, make_union

    # Sublinear counts; each half, words and pieces of words, has unit length.
    words, pieces = (
        TfidfVectorizer(analyzer=cut, min_df=count, sublinear_tf=True)
        for cut, count in zip(TOKENIZERS, MIN_TEXT_COUNTS, strict=True)
    )
    regression = LogisticRegression(
        C=INVERSE_PENALTY, class_weight="balanced", max_iter=2000, tol=1e-8
    )
    pipeline = make_pipeline(make_union(words, pieces), regression)
    truth = np.array([labels.index(name) for name in named])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    decisions = cross_val_predict(pipeline, texts, truth, cv=folds, method="decision_function")
    logits = _both_labels(decisions)
    temperature = round(fit_temperature(softmax(logits), truth), WEIGHT_DIGITS)
    pipeline.fit(texts, truth)
    trained = LinearWeights(
        labels=labels,
        words={word: int(at) for word, at in sorted(words.vocabulary_.items())},
        pieces={piece: int(at) for piece, at in sorted(pieces.vocabulary_.items())},
        rarity=_rounded(np.concatenate([words.idf_, pieces.idf_])),
        weights=tuple(map(_rounded, _both_labels(regression.coef_.T).T)),
        bias=_rounded(_both_labels(regression.intercept_[None])[0]),
        temperature=temperature,
        trained_on=content_hash([list(texts), list(named)]),
    )
    return trained, softmax(logits / temperature)


def _both_labels(values: Floats) -> Floats:
    """Return values by label in the last axis: for two, scikit-learn fits their difference only."""
    if values.ndim == 2 and values.shape[1] > 1:
        return values
    half = values.reshape(-1, 1) / 2
    return np.hstack([-half, half])


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), WEIGHT_DIGITS) for value in values)
