"""Compare benchmarked models: agreement with the first, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from medtune.analysis.compare import align_predictions
from medtune.core.intervals import wilson_interval
from medtune.core.records import Prediction
from medtune.core.schemas.compression import BenchRow, Measurement


def make_bench_rows(
    measured: Sequence[tuple[Measurement, Sequence[Prediction]]],
) -> tuple[BenchRow, ...]:
    """Make benchmark rows: add agreement with the first model and the Pareto front.

    Raises:
        PredictionsError: The models did not answer the same questions.
    """
    first = measured[0][1]
    rows = []
    for one, predictions in measured:
        pairs = align_predictions(first, predictions)
        same = wilson_interval(sum(a.chosen == b.chosen for a, b in pairs), len(pairs))
        unbeaten = not any(dominates(other, one) for other, _ in measured)
        rows.append(BenchRow(**{**dict(one), "agreement": same, "pareto": unbeaten}))
    return tuple(rows)


def dominates(one: Measurement, other: Measurement) -> bool:
    """Return whether `one` Pareto-dominates `other` in speed, memory and accuracy."""
    pairs = [
        (one.questions_per_s, other.questions_per_s),
        (-one.peak_memory_bytes, -other.peak_memory_bytes),
        (one.accuracy.value, other.accuracy.value),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
