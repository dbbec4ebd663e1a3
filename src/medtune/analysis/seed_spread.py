"""How far the models of several seeds part."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.stats import norm, t

from medtune.analysis.analyze import Evaluation
from medtune.analysis.compare import lined_up, paired_outcomes
from medtune.core.records import Outcome, Prediction, SeedSpread


def over_seeds(base: Evaluation, tuned: Sequence[Evaluation]) -> SeedSpread:
    """Take mean and spread of one examination over the seeds.

    Two intervals answer two questions.  The one of the mean is over seeds (Student's t): would
    other seeds do as well?  The one of the difference is over questions: every question's mean
    over the seeds minus the base's is one observation (Miller 2024, arXiv 2411.00640, sections 3
    and 4).  Neither holds for other questions and other seeds at once.

    Args:
        base: Of the base model.
        tuned: Of the models of two seeds or more.

    Raises:
        PredictionsError: They are not of the same questions, or not of the same method.
    """
    record, predictions = base
    outcomes = [paired_outcomes(record, predictions, *one) for one in tuned]
    right = [sum(after) for _, after in outcomes]
    n, seeds = len(predictions), len(tuned)
    accuracies = [count / n for count in right]
    mean = sum(right) / (n * seeds)
    deviation = statistics.stdev(accuracies)
    reach = float(t.ppf(0.975, seeds - 1)) * deviation / math.sqrt(seeds)
    before = outcomes[0][0]
    margin = margin_over_questions(
        [
            sum(after[question] for _, after in outcomes) / seeds - before[question]
            for question in range(n)
        ]
    )
    difference = mean - record.accuracy.value
    return SeedSpread(
        split=record.data.source,
        method=record.method,
        n=n,
        base=record.accuracy,
        accuracies=tuple(accuracies),
        mean=mean,
        deviation=deviation,
        low=max(0.0, mean - reach),
        high=min(1.0, mean + reach),
        difference=difference,
        difference_low=difference - margin,
        difference_high=difference + margin,
        verdict=_verdict(difference, margin, mean, deviation, seeds, n),
    )


def right_by_question(
    asked: Sequence[Prediction], repeats: Sequence[Sequence[Prediction]]
) -> list[float]:
    """Return how often each question was right over some repeats, 0 to 1.

    Args:
        asked: The questions, in the order of the result.
        repeats: Answers to them, of several seeds or draws.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    return [right_share(row) for row in by_question(asked, repeats)]


Row = tuple[Prediction, ...]
"""One question's repeats."""


def right_share(row: Row) -> float:
    """Return how often a question was right, 0 to 1."""
    return statistics.fmean(p.outcome is Outcome.CORRECT for p in row)


def by_question(asked: Sequence[Prediction], repeats: Sequence[Sequence[Prediction]]) -> list[Row]:
    """Line repeats up, question by question, in the order of `asked`.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    columns = [[b for _, b in lined_up(asked, some)] for some in repeats]
    return list(zip(*columns, strict=True))


def mean_over_questions(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a mean over questions and its 95 % interval: (mean, low, high)."""
    mean, margin = statistics.fmean(values), margin_over_questions(values)
    return mean, mean - margin, mean + margin


def margin_over_questions(values: Sequence[float]) -> float:
    """Return half of a 95 % interval of a mean over questions, by the normal approximation.

    Where all are alike, the rule of three bounds what was not seen: 3 / n.
    """
    n = len(values)
    deviation = statistics.stdev(values) if n > 1 else 1.0
    return float(norm.ppf(0.975)) * deviation / math.sqrt(n) or min(1.0, 3 / n)


def _verdict(
    difference: float, margin: float, mean: float, deviation: float, seeds: int, n: int
) -> str:
    """Say in one sentence what the seeds found."""
    tail = (
        f"{100 * mean:.1f} % on average, standard deviation {100 * deviation:.1f} points over "
        f"{seeds} seeds; 95 % interval over questions {100 * (difference - margin):+.1f} to "
        f"{100 * (difference + margin):+.1f}, n = {n}"
    )
    if abs(difference) > margin:
        word = "better" if difference > 0 else "worse"
        return f"Tuned is {word} than base by {abs(100 * difference):.1f} points ({tail})."
    return f"No detectable change: tuned is {100 * difference:+.1f} points from base ({tail})."
