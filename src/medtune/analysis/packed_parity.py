"""Does a packed model still answer as the one it was made from?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from medtune.analysis.calibration import ScoredOptions, calibration_error
from medtune.analysis.compare import compare, lined_up
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson
from medtune.core.records import EvaluationRecord, Prediction
from medtune.core.schemas.compression import Budget, Parity, over_budget

Sat = tuple[EvaluationRecord, Sequence[Prediction]]
"""An examination: record and predictions."""


def parity(
    name: str, reference: Sat, candidate: Sat, budget: Budget, file_bytes: int | None = None
) -> Parity:
    """Hold a packed model against the one it was made from.

    All is held to its budget by the unfavourable end of an interval: what too few questions cannot
    exclude counts.

    Args:
        name: Of the packed model, for tables.
        reference: Examination of the original, by letter or cloze.
        candidate: The same examination of the packed model.
        budget: How far they may be apart.
        file_bytes: Size of its weights on disk.

    Raises:
        PredictionsError: They are not the same examination, or one without probabilities.
    """
    pairs = lined_up(reference[1], candidate[1], (reference[0].label, candidate[0].label))
    drift = drift_of([(_logs(before), _logs(after)) for before, after in pairs])
    agreement = wilson(sum(a.chosen == b.chosen for a, b in pairs), len(pairs))
    comparison = compare(reference, candidate)
    errors = [calibration_error(ScoredOptions.of(sat[1])) for sat in (reference, candidate)]
    broken = over_budget(budget, agreement, drift.high, "nats a token", comparison)
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
    """By how much options' log-probabilities moved, nats."""

    mean: float
    high: float | None
    """Upper end of the mean's 95 % interval; None for one question."""
    largest: float


def drift_of(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> LogprobShift:
    """Measure how far log-probabilities moved.

    The interval is by the normal approximation with the questions as clusters (Miller 2024, arXiv
    2411.00640, section 2.2): a question's options move together.

    Args:
        pairs: Of each question its options' log-probabilities, before and after.
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


def _logs(prediction: Prediction) -> list[float]:
    """Return each option's log-probability, nats a token: a letter has one, a text several."""
    if prediction.logprobs is None or prediction.tokens is None:
        raise PredictionsError(
            f"{prediction.id} has no log-probabilities",
            expected="an examination by letter or cloze",
        )
    pairs = zip(prediction.logprobs, prediction.tokens, strict=True)
    return [value / max(1, tokens) for value, tokens in pairs]
