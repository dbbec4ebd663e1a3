"""Aggregate the evaluations of models trained with several seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from medtune.analysis.compare import align_predictions, pair_outcomes
from medtune.core.predictions_io import Evaluation
from medtune.core.records import Outcome, Prediction, SeedSpread


def aggregate_seeds(base: Evaluation, tuned: Sequence[Evaluation]) -> SeedSpread:
    """Compute mean and spread of one evaluation over the seeds.

    The interval of the mean is over seeds (Student's t), for these questions.  The interval of the
    difference is over questions, for these models: every question's mean over the seeds minus the
    base's is one observation (Miller 2024, arXiv 2411.00640, sections 3 and 4).  Neither covers
    other questions and other seeds at once.

    Raises:
        PredictionsError: They are not of the same questions, or not of the same method.
    """
    from scipy.stats import t

    record, predictions = base
    outcomes = [pair_outcomes(record, predictions, *one) for one in tuned]
    right = [sum(after) for _, after in outcomes]
    n, seeds = len(predictions), len(tuned)
    accuracies = [count / n for count in right]
    mean = sum(right) / (n * seeds)
    deviation = statistics.stdev(accuracies)
    reach = float(t.ppf(0.975, seeds - 1)) * deviation / math.sqrt(seeds)
    before = outcomes[0][0]
    margin = confidence_margin(
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
        verdict=_seed_verdict(difference, margin, mean, deviation, seeds, n),
    )


def accuracy_by_question(
    asked: Sequence[Prediction], repeats: Sequence[Sequence[Prediction]]
) -> list[float]:
    """Return the accuracy on each question over several repeats, 0 to 1.

    The repeats are of several seeds or draws.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    return [share_correct(row) for row in align_repeats(asked, repeats)]


RepeatedAnswers = tuple[Prediction, ...]
"""The repeated answers to one question."""


def share_correct(row: RepeatedAnswers) -> float:
    """Return the share of correct answers, 0 to 1."""
    return statistics.fmean(p.outcome is Outcome.CORRECT for p in row)


def align_repeats(
    asked: Sequence[Prediction], repeats: Sequence[Sequence[Prediction]]
) -> list[RepeatedAnswers]:
    """Align repeats by question, in the order of `asked`.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    columns = [[b for _, b in align_predictions(asked, some)] for some in repeats]
    return list(zip(*columns, strict=True))


def mean_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a mean over questions and its 95 % interval: (mean, low, high)."""
    mean, margin = statistics.fmean(values), confidence_margin(values)
    return mean, mean - margin, mean + margin


def confidence_margin(values: Sequence[float]) -> float:
    """Return the half-width of the 95 % interval of a mean, by the normal approximation.

    If all values are equal, it is 3 / n, by the rule of three.
    """
    from scipy.stats import norm

    n = len(values)
    deviation = statistics.stdev(values) if n > 1 else 1.0
    return float(norm.ppf(0.975)) * deviation / math.sqrt(n) or min(1.0, 3 / n)


def paired_p_value(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of a mean difference of 0, by the normal approximation."""
    from scipy.stats import norm

    error = confidence_margin(differences) / norm.ppf(0.975)
    return float(2 * norm.sf(abs(statistics.fmean(differences)) / error))


def _seed_verdict(
    difference: float, margin: float, mean: float, deviation: float, seeds: int, n: int
) -> str:
    """Return the verdict over the seeds in one sentence."""
    tail = (
        f"{100 * mean:.1f} % on average, standard deviation {100 * deviation:.1f} points over "
        f"{seeds} seeds; 95 % interval over questions {100 * (difference - margin):+.1f} to "
        f"{100 * (difference + margin):+.1f}, n = {n}"
    )
    if abs(difference) > margin:
        word = "better" if difference > 0 else "worse"
        return f"Tuned is {word} than base by {abs(100 * difference):.1f} points ({tail})."
    return f"No detectable change: tuned is {100 * difference:+.1f} points from base ({tail})."
