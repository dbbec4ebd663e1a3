"""Two models on the same questions: paired statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scipy.stats import binomtest, norm, t

from medtune.analysis.breakdown import clustered_error, clusters
from medtune.analysis.options_only import gain_note, stem_note
from medtune.core.errors import PredictionsError
from medtune.core.formatting import equation
from medtune.core.intervals import tango, wilson
from medtune.core.records import ComparisonRecord, EvaluationRecord, Outcome, Prediction

ASPECTS: dict[str, Callable[[EvaluationRecord], object]] = {
    # Not the device, nor the name under which the same weights were found.
    "model": lambda e: (e.model.fingerprint, e.model.adapter),
    "arithmetic": lambda e: e.model.dtype,
    "method": lambda e: e.method,
    "normalization": lambda e: e.normalization,
    "prompt": lambda e: e.prompt_hash,
    "orders of the options": lambda e: e.orders,
    "worked examples": lambda e: (e.shots, e.shots_by),
    "variant of the questions": lambda e: e.variant,
    "constraint on the answers": lambda e: e.constrained,
    "version of the parser": lambda e: e.parser,
}
"""In what two examinations may differ."""
BESIDE_THE_MODEL = (
    "prompt",
    "orders of the options",
    "worked examples",
    "constraint on the answers",
    "version of the parser",
    "arithmetic",
)
"""What a comparison of two models by one method mentions."""
BESIDE_THE_RELEASE = tuple(a for a in BESIDE_THE_MODEL if a not in ("prompt", "arithmetic"))
"""What a comparison of two releases mentions: prompt and arithmetic are theirs."""


def compare(
    a: tuple[EvaluationRecord, Sequence[Prediction]],
    b: tuple[EvaluationRecord, Sequence[Prediction]],
    *,
    releases: bool = False,
) -> ComparisonRecord:
    """Compare two examinations question by question.

    Args:
        a: The reference, its record and predictions.
        b: The candidate.
        releases: Compare two releases, each asked in its own way: prompt, method, arithmetic.

    Raises:
        PredictionsError: They are not of the same questions, or not of the same method.
    """
    (record_a, predictions_a), (record_b, predictions_b) = a, b
    right_a, right_b = paired_outcomes(
        record_a, predictions_a, record_b, predictions_b, one_method=not releases
    )
    n = len(right_a)
    both = sum(x and y for x, y in zip(right_a, right_b, strict=True))
    only_a = sum(right_a) - both
    only_b = sum(right_b) - both
    low, high = tango(only_a, only_b, n)
    p_value = mcnemar_exact(only_a, only_b)
    difference = (only_b - only_a) / n
    floor = minimum_detectable(only_a + only_b, n)
    return ComparisonRecord(
        split=record_a.data.source,
        method=record_b.method,
        a=record_a.label,
        b=record_b.label,
        n=n,
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=n - both - only_a - only_b,
        accuracy_a=wilson(both + only_a, n),
        accuracy_b=wilson(both + only_b, n),
        difference=difference,
        difference_low=low,
        difference_high=high,
        design_effect=_design_effect(predictions_a, right_a, right_b),
        p_value=p_value,
        differs=tuple(
            differences(record_a, record_b, BESIDE_THE_RELEASE if releases else BESIDE_THE_MODEL)
        ),
        minimum_detectable=floor,
        verdict=verdict(record_a.label, record_b.label, difference, low, high, p_value, floor, n),
        notes=tuple(
            note
            for note in (stem_note(record_b), gain_note(record_a, record_b, difference))
            if note is not None
        ),
    )


def differences(
    a: EvaluationRecord, b: EvaluationRecord, aspects: Sequence[str] = BESIDE_THE_MODEL
) -> list[str]:
    """List in which of some aspects two examinations differ."""
    return [name for name in aspects if ASPECTS[name](a) != ASPECTS[name](b)]


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Test whether two models differ, from the questions on which they disagree.

    Exact two-sided binomial test with p = 1/2 (McNemar 1947); 1 where they never disagree.
    """
    discordant = only_a + only_b
    return float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0


def _design_effect(
    predictions: Sequence[Prediction], right_a: Sequence[bool], right_b: Sequence[bool]
) -> float | None:
    """Return by how much questions that belong together widen the difference's variance.

    The variance between few clusters is itself uncertain: of g of them it counts g / (g - 1) times,
    and as if Student's t with g - 1 degrees were the normal (Cameron and Miller 2015, Journal of
    Human Resources 50, 317-372).  Without that the gate passed 5 to 7 % of losses at the margin
    where 5 subjects differed, nominally 2.5 %.

    None where no cluster is known, or the difference is the same on every question.
    """
    found = clusters(predictions)
    gains = [int(y) - int(x) for x, y in zip(right_a, right_b, strict=True)]
    n, total = len(gains), sum(gains)
    variance = (n * sum(gain * gain for gain in gains) - total * total) / n**3
    if found is None or not variance:
        return None
    number = len(set(found[1]))
    few = number / (number - 1) * (t.ppf(0.975, number - 1) / norm.ppf(0.975)) ** 2
    return float(few * clustered_error(gains, found[1]) ** 2 / variance)


def minimum_detectable(discordant: int, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Find the smallest difference that a paired test would find at this discordance.

    Normal approximation (Miller 2024, arXiv 2411.00640, section 5): the difference's standard
    error is sqrt(discordance / n).  Without a single disagreement the discordance is taken as
    3 / n, the upper bound of the rule of three.
    """
    rate = discordant / n if discordant else min(1.0, 3 / n)
    return min(1.0, float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * math.sqrt(rate / n))


def verdict(
    a: str, b: str, difference: float, low: float, high: float, p: float, floor: float, n: int
) -> str:
    """Say in one sentence what the comparison found."""
    span = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    tail = f"{span}, exact McNemar p {equation(p)}, n = {n}"
    if p < 0.05:
        word = "better" if difference > 0 else "worse"
        return f"{b} is {word} than {a} by {abs(100 * difference):.1f} points ({tail})."
    return (
        f"No detectable change: {b} is {100 * difference:+.1f} points from {a} ({tail}; "
        f"differences below {100 * floor:.1f} points would go unseen here)."
    )


def paired_outcomes(
    record_a: EvaluationRecord,
    predictions_a: Sequence[Prediction],
    record_b: EvaluationRecord,
    predictions_b: Sequence[Prediction],
    *,
    one_method: bool = True,
) -> tuple[list[bool], list[bool]]:
    """Line up outcomes by question.

    Args:
        record_a: Of the reference.
        predictions_a: Its own.
        record_b: Of the candidate.
        predictions_b: Its own.
        one_method: Refuse two methods, and two normalizations.

    Returns:
        Whether a and b were right, `[question]`, in a's order.

    Raises:
        PredictionsError: They are not of the same questions, or not of the same method.
    """
    if record_a.variant != record_b.variant:
        raise PredictionsError(
            f"{record_a.label} was asked {record_a.variant} questions, "
            f"{record_b.label} {record_b.variant} ones",
            expected="the same questions for both",
            fix="see what a change of the questions does with `medtune study robustness`",
        )
    if one_method and record_a.method != record_b.method:
        raise PredictionsError(
            f"{record_a.label} was examined by {record_a.method}, "
            f"{record_b.label} by {record_b.method}",
            expected="one method for both",
            fix="evaluate both with the same --method",
        )
    if one_method and record_a.normalization != record_b.normalization:
        raise PredictionsError(
            f"{record_a.label} was scored per {record_a.normalization}, "
            f"{record_b.label} per {record_b.normalization}",
            expected="one normalization for both",
            fix="evaluate both with the same --normalization",
        )
    pairs = lined_up(predictions_a, predictions_b, (record_a.label, record_b.label))
    right_a = [a.outcome == Outcome.CORRECT for a, _ in pairs]
    right_b = [b.outcome == Outcome.CORRECT for _, b in pairs]
    return right_a, right_b


def lined_up(
    predictions_a: Sequence[Prediction],
    predictions_b: Sequence[Prediction],
    names: tuple[str, str] = ("one model", "the other"),
) -> list[tuple[Prediction, Prediction]]:
    """Line up the answers to each question, in the order of the first.

    Args:
        predictions_a: Of one model.
        predictions_b: Of the other.
        names: Of the two, for the message.

    Raises:
        PredictionsError: They are not of the same questions, or of none.
    """
    keys_a = {(p.id, p.options, p.answer): p for p in predictions_a}
    keys_b = {(p.id, p.options, p.answer): p for p in predictions_b}
    if keys_a.keys() != keys_b.keys() or not keys_a:
        shared = len(keys_a.keys() & keys_b.keys())
        raise PredictionsError(
            f"{names[0]} answered {len(keys_a)} questions, {names[1]} {len(keys_b)}; "
            f"{shared} are the same",
            expected="the same questions with the same options for both",
            fix="evaluate both on the same data",
        )
    return [(a, keys_b[key]) for key, a in keys_a.items()]
