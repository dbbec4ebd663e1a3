"""Models side by side: who is beaten in everything, and who answers alike."""

from __future__ import annotations

from collections.abc import Sequence

from medtune.analysis.compare import lined_up
from medtune.core.intervals import wilson
from medtune.core.records import Prediction
from medtune.core.schemas.compression import BenchRow, Measurement


def side_by_side(
    measured: Sequence[tuple[Measurement, Sequence[Prediction]]],
) -> tuple[BenchRow, ...]:
    """Add what no model knows of itself: agreement with the first, and the Pareto front.

    Raises:
        PredictionsError: They did not answer the same questions.
    """
    first = measured[0][1]
    rows = []
    for one, predictions in measured:
        pairs = lined_up(first, predictions)
        same = wilson(sum(a.chosen == b.chosen for a, b in pairs), len(pairs))
        unbeaten = not any(beats(other, one) for other, _ in measured)
        rows.append(BenchRow(**{**dict(one), "agreement": same, "pareto": unbeaten}))
    return tuple(rows)


def beats(one: Measurement, other: Measurement) -> bool:
    """Tell whether a model is no worse in speed, memory and accuracy, and better in one of them."""
    pairs = [
        (one.questions_per_s, other.questions_per_s),
        (-one.peak_memory_bytes, -other.peak_memory_bytes),
        (one.accuracy.value, other.accuracy.value),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
