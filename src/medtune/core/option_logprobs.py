"""Compare the options of a question: normalised log-probabilities of their continuations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medtune.core.protocols import ContinuationScore
from medtune.core.records import Normalization

ContinuationScores = tuple[ContinuationScore, ...]
MIN_PROBABILITY = 1e-12
"""Probability that a smaller one counts as: no model can rule an option out."""


def option_logprobs(scores: ContinuationScores, normalization: Normalization) -> tuple[float, ...]:
    """Return the normalised log-probabilities of the options.

    Args:
        scores: One per option.
        normalization: sum compares summed log-probabilities, token and byte their means
            (lm-evaluation-harness: acc for sum, acc_norm for byte).

    Returns:
        Log-softmax of the compared values; their exponentials add up to 1.
    """
    return log_softmax(
        [s.logprob / normalization_length(normalization, s.tokens, s.bytes) for s in scores]
    )


def normalization_length(normalization: Normalization, tokens: int, size: int) -> int:
    """Return what a summed log-probability is divided by.

    Args:
        normalization: See `option_logprobs`.
        tokens: Tokens of the continuation.
        size: Bytes of the continuation.
    """
    return {"sum": 1, "token": max(1, tokens), "byte": max(1, size)}[normalization]


def option_probabilities(
    scores: ContinuationScores, normalization: Normalization
) -> tuple[float, ...]:
    """Return the normalised probabilities of the options; they add up to 1."""
    return probabilities_from_logs(option_logprobs(scores, normalization))


def log_softmax(values: Sequence[float]) -> tuple[float, ...]:
    """Return values minus the logarithm of the sum of their exponentials."""
    top = max(values)
    total = top + math.log(math.fsum(math.exp(value - top) for value in values))
    return tuple(value - total for value in values)


def log_probabilities(probabilities: Sequence[float]) -> tuple[float, ...]:
    """Return the logarithms of probabilities, none below that of `MIN_PROBABILITY`."""
    return tuple(math.log(max(p, MIN_PROBABILITY)) for p in probabilities)


def probabilities_from_logs(logs: Sequence[float]) -> tuple[float, ...]:
    """Return the exponentials of log-probabilities, divided by their sum."""
    weights = [math.exp(log) for log in logs]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)
