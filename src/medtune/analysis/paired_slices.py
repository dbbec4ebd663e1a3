"""Where do two models differ? Slice by slice, and question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medtune.analysis.breakdown import DIMENSIONS, LEAST, holm
from medtune.analysis.compare import lined_up, mcnemar_exact
from medtune.core.intervals import tango, wilson
from medtune.core.records import Outcome, Prediction
from medtune.core.schemas.analysis import Dimension, PairedSlice

SLICED: tuple[Dimension, ...] = ("subject", "negation", "letter")
"""Dimensions with few enough slices for a paired test in each."""
Pair = tuple[Prediction, Prediction]


@dataclass(frozen=True, slots=True)
class Changed:
    """One question that only one of two models has right."""

    kind: Literal["gained", "lost"]
    """gained: only the candidate is right; lost: only the reference is."""
    a: Prediction
    b: Prediction


def paired_slices(
    predictions_a: Sequence[Prediction], predictions_b: Sequence[Prediction]
) -> tuple[PairedSlice, ...]:
    """Compare two models on the slices of their questions.

    A dimension in which all questions are alike is left out, and a slice with fewer than 10
    questions is shown without a test.  Subjects come by size, everything else in its natural
    order.

    Args:
        predictions_a: Of the reference.
        predictions_b: Of the candidate.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    pairs = lined_up(predictions_a, predictions_b)
    found: list[PairedSlice] = []
    for dimension in SLICED:
        slices: dict[tuple[int, str], list[Pair]] = {}
        places = DIMENSIONS[dimension]([a for a, _ in pairs])
        for pair, place in zip(pairs, places, strict=True):
            slices.setdefault(place, []).append(pair)
        if len(slices) < 2:
            continue
        p_values = {
            name: mcnemar_exact(*_discordant(some))
            for (_, name), some in slices.items()
            if len(some) >= LEAST
        }
        p_holm = dict(zip(p_values, holm(list(p_values.values())), strict=True))
        for (_, name), some in sorted(slices.items()):
            p = (p_values.get(name), p_holm.get(name))
            found.append(_slice(dimension, name, some, p))
    return tuple(found)


def changed(
    predictions_a: Sequence[Prediction], predictions_b: Sequence[Prediction], most: int = 20
) -> tuple[Changed, ...]:
    """Find questions that only one of the two models has right, the lost ones first.

    Args:
        predictions_a: Of the reference.
        predictions_b: Of the candidate.
        most: Of each kind.  Those come first whose right option's probability changed most;
            without probabilities, as they were asked.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    lost: list[Changed] = []
    gained: list[Changed] = []
    for a, b in sorted(lined_up(predictions_a, predictions_b), key=_movement, reverse=True):
        before, after = a.outcome == Outcome.CORRECT, b.outcome == Outcome.CORRECT
        if before and not after:
            lost.append(Changed("lost", a, b))
        elif after and not before:
            gained.append(Changed("gained", a, b))
    return (*lost[:most], *gained[:most])


def _discordant(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Count the questions that only a, and only b, has right."""
    right = [(a.outcome == Outcome.CORRECT, b.outcome == Outcome.CORRECT) for a, b in pairs]
    return right.count((True, False)), right.count((False, True))


def _movement(pair: Pair) -> float:
    """Say how far the probability of the right option moved; 0 without probabilities."""
    a, b = pair
    if a.probabilities is None or b.probabilities is None:
        return 0.0
    return abs(b.probabilities[b.answer] - a.probabilities[a.answer])


def _slice(
    dimension: Dimension,
    name: str,
    pairs: Sequence[Pair],
    p: tuple[float | None, float | None],
) -> PairedSlice:
    n = len(pairs)
    only_a, only_b = _discordant(pairs)
    correct_a = sum(a.outcome == Outcome.CORRECT for a, _ in pairs)
    low, high = tango(only_a, only_b, n)
    return PairedSlice(
        dimension=dimension,
        name=name,
        accuracy_a=wilson(correct_a, n),
        accuracy_b=wilson(correct_a - only_a + only_b, n),
        only_a=only_a,
        only_b=only_b,
        difference=(only_b - only_a) / n,
        difference_low=low,
        difference_high=high,
        p_value=p[0],
        p_holm=p[1],
    )
