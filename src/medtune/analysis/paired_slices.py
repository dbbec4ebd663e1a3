"""Compare two models by slice and by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medtune.analysis.breakdown import MIN_SLICE_QUESTIONS, group_by_slice, holm_correction
from medtune.analysis.compare import align_predictions, mcnemar_exact
from medtune.core.intervals import tango_interval, wilson_interval
from medtune.core.records import Outcome, Prediction
from medtune.core.schemas.analysis import Dimension, PairedSlice

PAIRED_DIMENSIONS: tuple[Dimension, ...] = ("subject", "negation", "letter")
"""Dimensions with few enough slices for paired tests."""
PredictionPair = tuple[Prediction, Prediction]


@dataclass(frozen=True, slots=True)
class DiscordantQuestion:
    """A question that only one of two models has right."""

    kind: Literal["gained", "lost"]
    """gained: only the candidate is right; lost: only the reference is."""
    a: Prediction
    b: Prediction


def compare_slices(
    predictions_a: Sequence[Prediction], predictions_b: Sequence[Prediction]
) -> tuple[PairedSlice, ...]:
    """Compare two models on the slices of their questions.

    A dimension with a single slice is left out, and a slice with fewer than 10 questions has no
    test.  Subjects are ordered by size, other slices in their natural order.

    a is the reference, b the candidate.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    pairs = align_predictions(predictions_a, predictions_b)
    found: list[PairedSlice] = []
    for dimension in PAIRED_DIMENSIONS:
        members = group_by_slice(dimension, [a for a, _ in pairs])
        if len(members) < 2:
            continue
        slices = {name: [pairs[i] for i in own] for name, own in members.items()}
        p_values = {
            name: mcnemar_exact(*_count_discordant(own))
            for name, own in slices.items()
            if len(own) >= MIN_SLICE_QUESTIONS
        }
        p_holm = dict(zip(p_values, holm_correction(list(p_values.values())), strict=True))
        for name, own in slices.items():
            p = (p_values.get(name), p_holm.get(name))
            found.append(_make_paired_slice(dimension, name, own, p))
    return tuple(found)


def find_changed_answers(
    predictions_a: Sequence[Prediction], predictions_b: Sequence[Prediction], most: int = 20
) -> tuple[DiscordantQuestion, ...]:
    """Find questions that only one of the two models has right, the lost ones first.

    Args:
        predictions_a: Predictions of the reference.
        predictions_b: Predictions of the candidate.
        most: Largest number of each kind.  They are ordered by the change of the right option's
            probability; without probabilities, in the order of the questions.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    pairs = align_predictions(predictions_a, predictions_b)
    pairs.sort(key=_probability_change, reverse=True)
    right = [(a.outcome == Outcome.CORRECT, b.outcome == Outcome.CORRECT) for a, b in pairs]
    lost = [pair for pair, own in zip(pairs, right, strict=True) if own == (True, False)]
    gained = [pair for pair, own in zip(pairs, right, strict=True) if own == (False, True)]
    return (
        *(DiscordantQuestion("lost", a, b) for a, b in lost[:most]),
        *(DiscordantQuestion("gained", a, b) for a, b in gained[:most]),
    )


def _count_discordant(pairs: Sequence[PredictionPair]) -> tuple[int, int]:
    """Count the questions that only a, and only b, has right."""
    right = [(a.outcome == Outcome.CORRECT, b.outcome == Outcome.CORRECT) for a, b in pairs]
    return right.count((True, False)), right.count((False, True))


def _probability_change(pair: PredictionPair) -> float:
    """Return the absolute change of the right option's probability; 0 without probabilities."""
    a, b = pair
    if a.probabilities is None or b.probabilities is None:
        return 0.0
    return abs(b.probabilities[b.answer] - a.probabilities[a.answer])


def _make_paired_slice(
    dimension: Dimension,
    name: str,
    pairs: Sequence[PredictionPair],
    p: tuple[float | None, float | None],
) -> PairedSlice:
    n = len(pairs)
    only_a, only_b = _count_discordant(pairs)
    correct_a = sum(a.outcome == Outcome.CORRECT for a, _ in pairs)
    low, high = tango_interval(only_a, only_b, n)
    return PairedSlice(
        dimension=dimension,
        name=name,
        accuracy_a=wilson_interval(correct_a, n),
        accuracy_b=wilson_interval(correct_a - only_a + only_b, n),
        only_a=only_a,
        only_b=only_b,
        difference=(only_b - only_a) / n,
        difference_low=low,
        difference_high=high,
        p_value=p[0],
        p_holm=p[1],
    )
