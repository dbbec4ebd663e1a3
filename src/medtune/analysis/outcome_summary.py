"""Summarize predictions: counts of outcomes, and proportions with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from medtune.core.choice import top_scoring_indices
from medtune.core.intervals import wilson_interval
from medtune.core.records import LETTERS, Outcome, OutcomeCounts, Prediction


def summarize_outcomes(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the fields of an `EvaluationRecord` that its predictions determine."""
    counts = count_outcomes(predictions)
    right = Counter(LETTERS[p.answer] for p in predictions)
    given = Counter(LETTERS[p.chosen] for p in predictions if p.chosen is not None)
    letter, most = max(right.items(), key=lambda item: (item[1], item[0]))
    masses = [p.mass for p in predictions if p.mass is not None]
    ended = [p.stopped for p in predictions if p.stopped is not None]
    scores = [p.probabilities for p in predictions if p.probabilities is not None]
    return {
        "counts": counts,
        "accuracy": wilson_interval(counts.correct, counts.n),
        "answer_rate": wilson_interval(counts.correct + counts.wrong, counts.n),
        "stop_rate": wilson_interval(sum(ended), len(ended)) if ended else None,
        "chance": math.fsum(1 / len(p.options) for p in predictions) / counts.n,
        "majority": wilson_interval(most, counts.n),
        "majority_letter": letter,
        "letters_chosen": dict(sorted(given.items())),
        "letters_right": dict(sorted(right.items())),
        "ties": sum(len(top_scoring_indices(some)) > 1 for some in scores) if scores else None,
        "mean_mass": math.fsum(masses) / len(masses) if masses else None,
    }


def count_outcomes(predictions: Sequence[Prediction]) -> OutcomeCounts:
    """Count the outcomes of predictions."""
    tally = Counter(p.outcome for p in predictions)
    return OutcomeCounts(
        n=len(predictions),
        correct=tally[Outcome.CORRECT],
        wrong=tally[Outcome.WRONG],
        unparsed=tally[Outcome.UNPARSED],
        abstained=tally[Outcome.ABSTAINED],
    )
