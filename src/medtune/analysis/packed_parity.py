"""Measure the parity of a quantized model with its reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from medtune.analysis.calibration import ScoredOptions, calibration_error
from medtune.analysis.compare import align_predictions, compare_evaluations
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.records import Prediction
from medtune.core.schemas.compression import Budget, Parity, budget_violations


def measure_parity(
    name: str,
    reference: Evaluation,
    candidate: Evaluation,
    budget: Budget,
    file_bytes: int | None = None,
) -> Parity:
    """Compare a quantized model with its reference against a budget.

    Every figure is judged by the unfavourable end of its interval: with too few questions, a loss
    that cannot be excluded counts.

    Raises:
        PredictionsError: The evaluations differ in their questions, or have no probabilities.
    """
    pairs = align_predictions(reference[1], candidate[1], (reference[0].label, candidate[0].label))
    drift = measure_logprob_shift(
        [(_logprobs_per_token(before), _logprobs_per_token(after)) for before, after in pairs]
    )
    agreement = wilson_interval(sum(a.chosen == b.chosen for a, b in pairs), len(pairs))
    comparison = compare_evaluations(reference, candidate)
    errors = [
        calibration_error(ScoredOptions.from_predictions(run[1])) for run in (reference, candidate)
    ]
    broken = budget_violations(budget, agreement, drift.high, "nats a token", comparison)
    return Parity(
        name=name,
        model=candidate[0].model,
        evaluation=candidate[0],
        agreement=agreement,
        mean_drift=drift.mean,
        drift_high=drift.high,
        max_drift=drift.largest,
        comparison=comparison,
        calibration_shift=errors[1] - errors[0],
        budget=budget,
        broken=broken,
        file_bytes=file_bytes,
    )


@dataclass(frozen=True, slots=True)
class LogprobShift:
    """Change of the options' log-probabilities, nats."""

    mean: float
    high: float | None
    """Upper bound of the mean's 95 % interval; None for one question."""
    largest: float


def measure_logprob_shift(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> LogprobShift:
    """Measure the absolute change of log-probabilities.

    The interval is by the normal approximation with the questions as clusters (Miller 2024, arXiv
    2411.00640, section 2.2), because a question's options are correlated.

    The pairs are the log-probabilities of each question's options, before and after.
    """
    moved = [
        [abs(there - here) for here, there in zip(before, after, strict=True)]
        for before, after in pairs
    ]
    n, options = len(moved), sum(map(len, moved))
    mean = math.fsum(map(math.fsum, moved)) / options
    high = None
    if n > 1:
        squares = math.fsum((math.fsum(some) - mean * len(some)) ** 2 for some in moved)
        error = math.sqrt(squares * n / (n - 1)) / options
        high = mean + NormalDist().inv_cdf(0.975) * error
    return LogprobShift(mean, high, max(map(max, moved)))


def _logprobs_per_token(prediction: Prediction) -> list[float]:
    """Return each option's log-probability per token, nats."""
    if prediction.logprobs is None or prediction.tokens is None:
        raise PredictionsError(
            f"{prediction.id} has no log-probabilities",
            expected="an evaluation by letter or cloze",
        )
    pairs = zip(prediction.logprobs, prediction.tokens, strict=True)
    return [value / max(1, tokens) for value, tokens in pairs]
