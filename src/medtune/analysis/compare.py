"""Compare two models on the same questions with paired statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from medtune.analysis.breakdown import clustered_standard_error, find_clusters
from medtune.analysis.open_book import open_book_note, search_note
from medtune.analysis.options_only import gain_note, stem_note
from medtune.core.errors import PredictionsError
from medtune.core.formatting import format_p_value
from medtune.core.intervals import tango_interval, wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.records import ComparisonRecord, EvaluationRecord, Outcome, Prediction

COMPARED_ASPECTS: dict[str, Callable[[EvaluationRecord], object]] = {
    # Independent of the device and of the name of the weights.
    "model": lambda e: (e.model.fingerprint, e.model.adapter),
    "arithmetic": lambda e: e.model.dtype,
    "method": lambda e: e.method,
    "normalization": lambda e: e.normalization,
    "prompt": lambda e: e.prompt_hash,
    # A search shows no words of its passages.
    "passages in the prompt": lambda e: (
        e.open_book.index if e.open_book is not None and e.open_book.words else None
    ),
    "orders of the options": lambda e: e.orders,
    "worked examples": lambda e: (e.shots, e.shots_by),
    "variant of the questions": lambda e: e.variant,
    "constraint on the answers": lambda e: e.constrained,
    "version of the parser": lambda e: e.parser,
}
"""Aspects in which two evaluations may differ."""
MODEL_COMPARISON_ASPECTS = (
    "prompt",
    "passages in the prompt",
    "orders of the options",
    "worked examples",
    "constraint on the answers",
    "version of the parser",
    "arithmetic",
)
"""Aspects to mention when two models are compared by one method."""
RELEASE_COMPARISON_ASPECTS = tuple(
    a
    for a in MODEL_COMPARISON_ASPECTS
    if a not in ("prompt", "passages in the prompt", "arithmetic")
)
"""Aspects to mention when two releases are compared; prompt and arithmetic belong to them."""


def compare_evaluations(
    a: Evaluation,
    b: Evaluation,
    *,
    releases: bool = False,
) -> ComparisonRecord:
    """Compare two evaluations on the same questions.

    b is the candidate. Two releases are compared each with its own prompt, method and arithmetic.

    Raises:
        PredictionsError: They are not of the same questions, or not of the same method.
    """
    (record_a, predictions_a), (record_b, predictions_b) = a, b
    right_a, right_b = pair_outcomes(
        record_a, predictions_a, record_b, predictions_b, one_method=not releases
    )
    n = len(right_a)
    both = sum(x and y for x, y in zip(right_a, right_b, strict=True))
    only_a = sum(right_a) - both
    only_b = sum(right_b) - both
    low, high = tango_interval(only_a, only_b, n)
    p_value = mcnemar_exact(only_a, only_b)
    difference = (only_b - only_a) / n
    floor = minimum_detectable_difference(only_a + only_b, n)
    search_verdict = search_note(record_b)
    beats_search = record_b.search is not None and record_b.search.beaten
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
        accuracy_a=wilson_interval(both + only_a, n),
        accuracy_b=wilson_interval(both + only_b, n),
        difference=difference,
        difference_low=low,
        difference_high=high,
        design_effect=_design_effect(predictions_a, right_a, right_b),
        p_value=p_value,
        differs=tuple(
            differing_aspects(
                record_a,
                record_b,
                RELEASE_COMPARISON_ASPECTS if releases else MODEL_COMPARISON_ASPECTS,
            )
        ),
        minimum_detectable=floor,
        verdict=comparison_verdict(
            record_a.label, record_b.label, difference, low, high, p_value, floor, n
        ),
        notes=tuple(
            note
            for note in (
                None if beats_search else search_verdict,
                stem_note(record_b),
                gain_note(record_a, record_b, difference),
                open_book_note(record_a),
                open_book_note(record_b),
            )
            if note is not None
        ),
        search_a=record_a.search,
        search_b=record_b.search,
        search_verdict=search_verdict,
    )


def differing_aspects(
    a: EvaluationRecord, b: EvaluationRecord, aspects: Sequence[str] = MODEL_COMPARISON_ASPECTS
) -> list[str]:
    """Return the aspects in which two evaluations differ."""
    return [name for name in aspects if COMPARED_ASPECTS[name](a) != COMPARED_ASPECTS[name](b)]


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Return the exact McNemar p-value for the discordant questions of two models.

    Exact two-sided binomial test with p = 1/2 (McNemar 1947); 1 without discordant questions.
    """
    from scipy.stats import binomtest

    discordant = only_a + only_b
    return float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0


def _design_effect(
    predictions: Sequence[Prediction], right_a: Sequence[bool], right_b: Sequence[bool]
) -> float | None:
    """Return the design effect: the clustered variance of the difference over the plain one.

    A variance estimated from few clusters is itself uncertain.  For g clusters it is therefore
    multiplied by g / (g - 1), and by the squared ratio of the quantiles of Student's t with g - 1
    degrees of freedom and of the normal distribution (Cameron and Miller 2015, Journal of Human
    Resources 50, 317-372).  Without this the gate passed 5 to 7 % of losses at the margin where 5
    subjects differed, nominally 2.5 %.

    Returns:
        The factor; None where no cluster is known, or the difference is the same on every question.
    """
    from scipy.stats import norm, t

    found = find_clusters(predictions)
    gains = [int(y) - int(x) for x, y in zip(right_a, right_b, strict=True)]
    n, total = len(gains), sum(gains)
    variance = (n * sum(gain * gain for gain in gains) - total * total) / n**3
    if found is None or not variance:
        return None
    number = len(set(found[1]))
    few = number / (number - 1) * (t.ppf(0.975, number - 1) / norm.ppf(0.975)) ** 2
    return float(few * clustered_standard_error(gains, found[1]) ** 2 / variance)


def minimum_detectable_difference(
    discordant: int, n: int, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the smallest difference that a paired test can detect at this discordance.

    Normal approximation (Miller 2024, arXiv 2411.00640, section 5): the difference's standard
    error is sqrt(discordance / n).  Without any discordant pair the discordance is taken as 3 / n,
    the upper bound by the rule of three.
    """
    from scipy.stats import norm

    rate = discordant / n if discordant else min(1.0, 3 / n)
    return min(1.0, float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * math.sqrt(rate / n))


def comparison_verdict(
    a: str, b: str, difference: float, low: float, high: float, p: float, floor: float, n: int
) -> str:
    """Return the verdict of a comparison in one sentence."""
    span = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    tail = f"{span}, exact McNemar p {format_p_value(p)}, n = {n}"
    if p < 0.05:
        word = "better" if difference > 0 else "worse"
        return f"{b} is {word} than {a} by {abs(100 * difference):.1f} points ({tail})."
    return (
        f"No detectable change: {b} is {100 * difference:+.1f} points from {a} ({tail}; "
        f"80 % power only for true differences of {100 * floor:.1f} points or more)."
    )


def pair_outcomes(
    record_a: EvaluationRecord,
    predictions_a: Sequence[Prediction],
    record_b: EvaluationRecord,
    predictions_b: Sequence[Prediction],
    *,
    one_method: bool = True,
) -> tuple[list[bool], list[bool]]:
    """Pair the outcomes of two evaluations by question.

    With `one_method`, different methods or normalizations are refused.

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
            fix="compare variants of the questions with `medtune study robustness`",
        )
    if one_method and record_a.method != record_b.method:
        raise PredictionsError(
            f"{record_a.label} was evaluated by {record_a.method}, "
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
    pairs = align_predictions(predictions_a, predictions_b, (record_a.label, record_b.label))
    right_a = [a.outcome == Outcome.CORRECT for a, _ in pairs]
    right_b = [b.outcome == Outcome.CORRECT for _, b in pairs]
    return right_a, right_b


def align_predictions(
    predictions_a: Sequence[Prediction],
    predictions_b: Sequence[Prediction],
    names: tuple[str, str] = ("one model", "the other"),
) -> list[tuple[Prediction, Prediction]]:
    """Align the predictions of two models by question, in the order of the first.

    The names of the models are for the message.

    Raises:
        PredictionsError: They are not of the same questions, or empty.
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
