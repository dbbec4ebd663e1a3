"""Turn option features into probabilities: a conditional logit, fitted by maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtune.core.intervals import wilson_interval
from medtune.retrieval.schema import FeatureName, OptionScorer

RIDGE = 1e-3
"""Penalty on the squared weights of standardised features."""
MIN_SPREAD = 1e-9
"""A feature that varies less among the options of a question does not vary."""
UNFITTED_TEMPERATURE = 5.0
"""Softmax temperature of BM25 scores that no calibration was fitted for."""

Features = NDArray[np.float64]


def fit_option_scorer(
    features: Sequence[Features],
    answers: Sequence[int],
    negated: Sequence[bool],
    names: Sequence[FeatureName],
    source: str,
) -> OptionScorer:
    """Fit the weights of a conditional logit (McFadden 1974).

    Args:
        features: Per question, `[option, feature]`.
        answers: Index of each right option.
        negated: Whether each stem is negated; with more than one feature these get weights of
            their own.
        names: Names of the features.
        source: Questions that they are from, for the record.
    """
    split = len(names) > 1
    rows = [_expand(x, n, split) for x, n in zip(features, negated, strict=True)]
    fitted = fit_conditional_logit(rows, answers)
    right = [
        int(logs.argmax()) == answer for logs, answer in zip(fitted.logs, answers, strict=True)
    ]
    return OptionScorer(
        features=tuple(names),
        weights=fitted.weights,
        negated=split,
        source=source,
        n=len(answers),
        log_loss=fitted.log_loss,
        accuracy=wilson_interval(sum(right), len(answers)),
    )


@dataclass(frozen=True, slots=True)
class FittedWeights:
    """Weights of a conditional logit, and what they give on the questions of the fit."""

    weights: tuple[float, ...]
    logs: tuple[Features, ...]
    """Log-probabilities of the options, `[question][option]`."""
    log_loss: float
    """Mean over the questions, nats."""


def fit_conditional_logit(
    rows: Sequence[Features], answers: Sequence[int], least: float | None = None
) -> FittedWeights:
    """Fit weights by maximum likelihood of the right options, with a small ridge penalty.

    Args:
        rows: Per question, `[option, feature]`.
        answers: Index of each right option.
        least: Smallest weight; None leaves them free.
    """
    from scipy.optimize import minimize

    # The mean of a question's options is the same for all of them, and changes no probability.
    centred = [x - x.mean(0) for x in rows]
    spread = np.concatenate(centred).std(0)
    scale = np.where(spread > MIN_SPREAD, spread, 1.0)
    scaled = [x / scale for x in centred]
    options = max(map(len, scaled))
    # Options that a question does not have are padded with a logit of minus infinity.
    table = np.zeros((len(scaled), options, scaled[0].shape[1]))
    missing = np.full((len(scaled), options), -np.inf)
    for at, x in enumerate(scaled):
        table[at, : len(x)], missing[at, : len(x)] = x, 0.0
    right = np.array(answers)
    each = np.arange(len(right))

    def loss(weights: Features) -> tuple[float, Features]:
        logs = _log_softmax(table @ weights + missing)
        expected = np.einsum("qo,qof->qf", np.exp(logs), table)
        gradient = (expected - table[each, right]).mean(0) + 2 * RIDGE * weights
        return float(-logs[each, right].mean() + RIDGE * weights @ weights), gradient

    bounds = None if least is None else [(least, None)] * table.shape[2]
    start = np.zeros(table.shape[2])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    logs = _log_softmax(table @ found.x + missing)
    return FittedWeights(
        weights=tuple((found.x / scale).tolist()),
        logs=tuple(row[: len(x)] for row, x in zip(logs, scaled, strict=True)),
        log_loss=float(-logs[each, right].mean()),
    )


def option_log_probabilities(
    scorer: OptionScorer | None, features: Features, negated: bool
) -> Features:
    """Return the log-probabilities of the options, `[option]`; they sum to 1 as probabilities.

    Without a scorer, the first feature is divided by `UNFITTED_TEMPERATURE`.
    """
    if scorer is None:
        return _log_softmax(features[:, 0] / UNFITTED_TEMPERATURE)
    expanded = _expand(features, negated, scorer.negated)
    return _log_softmax(expanded @ np.array(scorer.weights))


def _expand(features: Features, negated: bool, split: bool) -> Features:
    """Repeat the features for negated stems, so that these have weights of their own."""
    return np.concatenate([features, features * negated], axis=1) if split else features


def _log_softmax(logits: Features) -> Features:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
