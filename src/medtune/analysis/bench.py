"""Models side by side: who is beaten in everything, and who answers alike."""

from __future__ import annotations

from collections.abc import Sequence

from medtune.analysis.compare import lined_up
from medtune.core.compress import BenchRow
from medtune.core.intervals import wilson
from medtune.core.records import Prediction


def side_by_side(
    measured: Sequence[tuple[BenchRow, Sequence[Prediction]]],
) -> tuple[BenchRow, ...]:
    """Fill in what no model knows of itself: agreement with the first, and the Pareto front.

    Raises:
        PredictionsError: They did not answer the same questions.
    """
    first = measured[0][1]
    rows = []
    for row, predictions in measured:
        pairs = lined_up(first, predictions)
        same = wilson(sum(a.chosen == b.chosen for a, b in pairs), len(pairs))
        rows.append(row.model_copy(update={"agreement": same}))
    return tuple(
        row.model_copy(update={"pareto": not any(beats(other, row) for other in rows)})
        for row in rows
    )


def beats(one: BenchRow, other: BenchRow) -> bool:
    """Tell whether a model is no worse in speed, memory and accuracy, and better in one of them."""
    pairs = [
        (one.questions_per_s, other.questions_per_s),
        (-one.peak_memory_bytes, -other.peak_memory_bytes),
        (one.accuracy.value, other.accuracy.value),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
