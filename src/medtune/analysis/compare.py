"""Compare two models on the same questions with paired statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from medtune.analysis.breakdown import clustered_standard_error, find_clusters
from medtune.analysis.open_book import open_book_note, search_note
from medtune.analysis.options_only import gain_note, stem_note
from medtune.core.errors import PredictionsError
from medtune.core.formatting import format_p_value, join_words
from medtune.core.intervals import tango_interval, wilson_interval
from medtune.core.predictions_io import Evaluation, refuse_imported
from medtune.core.records import (
    EPOCH_MARK,
    ComparisonRecord,
    EvaluationRecord,
    Outcome,
    Prediction,
    content_key,
)

COMPARED_ASPECTS: dict[str, Callable[[EvaluationRecord], object]] = {
    # Independent of the device and of the name of the weights.
    "model": lambda e: (e.model.fingerprint or e.model.source, e.model.adapter),
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
        PredictionsError: They are not of the same questions, or not of the same method; of two
            releases, one was imported.
    """
    (record_a, predictions_a), (record_b, predictions_b) = a, b
    if releases:
        refuse_imported(record_a)
        refuse_imported(record_b)
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
                _unknown_note(record_a, record_b),
                None
                if _same_questions(_by_id(predictions_a), _by_id(predictions_b))
                else "The questions were paired by their words, because their ids or the orders of "
                "their options differ.",
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
    """Return the aspects in which two evaluations differ; an unknown one is not known to."""
    known = [name for name in aspects if name not in _unknown_aspects(a, b)]
    return [name for name in known if COMPARED_ASPECTS[name](a) != COMPARED_ASPECTS[name](b)]


def _unknown_aspects(a: EvaluationRecord, b: EvaluationRecord) -> list[str]:
    """Return the aspects that the log of an imported evaluation does not tell."""
    imported = [record for record in (a, b) if record.origin is not None]
    found = []
    if any(record.model.dtype is None for record in imported):
        found.append("arithmetic")
    # The hashes of a harness's prompts are comparable with those of its own logs only.
    sources = {record.origin and record.origin.harness for record in (a, b)}
    if len(sources) > 1 or any(record.prompt_hash is None for record in imported):
        found.append("prompt")
    if any(record.shots is None for record in imported):
        found.append("worked examples")
    return found


def _unknown_note(a: EvaluationRecord, b: EvaluationRecord) -> str | None:
    """Return a note on aspects that cannot be compared, because an evaluation was imported."""
    unknown = _unknown_aspects(a, b)
    if not unknown:
        return None
    sources = " and ".join(
        f"{r.label} was imported from {r.origin.display_name}" for r in (a, b) if r.origin
    )
    return f"{sources}: whether the two agree in {join_words(unknown)} is unknown."


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

    Questions are paired by id, options and answer; if these differ, by the words of stem and
    options, with the second's options in the order of the first's. The names of the models are for
    the message.

    Raises:
        PredictionsError: They are not of the same questions, or empty.
    """
    by_id = _by_id(predictions_a), _by_id(predictions_b)
    if _same_questions(*by_id):
        return [(a, by_id[1][key]) for key, a in by_id[0].items()]
    by_content = _by_content(predictions_a), _by_content(predictions_b)
    # Two questions of the same words cannot be told apart by them.
    sizes = len(predictions_a), len(predictions_b)
    unique = tuple(map(len, by_content)) == sizes
    if unique and _same_questions(*by_content):
        return [
            (a, _reorder_options(by_content[1][key], a.options)) for key, a in by_content[0].items()
        ]
    found_a, found_b = by_content if unique else by_id
    only_a = [p for key, p in found_a.items() if key not in found_b]
    only_b = [p for key, p in found_b.items() if key not in found_a]
    raise PredictionsError(
        f"{names[0]} answered {len(predictions_a)} questions, {names[1]} {len(predictions_b)}; "
        f"{len(found_a) - len(only_a)} are the same"
        + _name_examples(names[0], only_a)
        + _name_examples(names[1], only_b),
        expected="the same questions with the same options for both",
        fix="evaluate both on the same data",
    )


def _by_id(predictions: Sequence[Prediction]) -> dict[Hashable, Prediction]:
    return {(p.id, p.options, p.answer): p for p in predictions}


def _by_content(predictions: Sequence[Prediction]) -> dict[Hashable, Prediction]:
    """Key predictions by the words of stem, options and right option.

    Epochs of one question have the same words; they differ in what follows the id.
    """
    return {
        (
            content_key(p.stem, p.options),
            content_key("", [p.options[p.answer]]),
            p.id.rpartition(EPOCH_MARK)[2] if p.group and EPOCH_MARK in p.id else "",
        ): p
        for p in predictions
    }


def _same_questions(a: dict[Hashable, Prediction], b: dict[Hashable, Prediction]) -> bool:
    return bool(a) and a.keys() == b.keys()


def _name_examples(name: str, only: Sequence[Prediction], most: int = 3) -> str:
    """Return a line with the number of questions that only one model answered, and the first."""
    if not only:
        return ""
    shown = ", ".join(f"{p.id} ({' '.join(p.stem.split())[:60]!r})" for p in only[:most])
    return f"\nonly in {name}: {len(only)}, such as {shown}"


def _reorder_options(prediction: Prediction, options: Sequence[str]) -> Prediction:
    """Return a prediction with its options in the order of another text of the same question."""
    if prediction.options == options:
        return prediction
    places = {content_key("", [option]): at for at, option in enumerate(prediction.options)}
    order = [places[content_key("", [option])] for option in options]
    if order == list(range(len(order))):
        return prediction

    def moved(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return tuple(values[at] for at in order) if values is not None else None

    chosen = order.index(prediction.chosen) if prediction.chosen is not None else None
    return prediction.model_copy(
        update={
            "options": moved(prediction.options),
            "answer": order.index(prediction.answer),
            "chosen": chosen,
            "logprobs": moved(prediction.logprobs),
            "tokens": moved(prediction.tokens),
            "bytes": moved(prediction.bytes),
            "probabilities": moved(prediction.probabilities),
            # Their orders are of the places before.
            "orders": None,
        }
    )
