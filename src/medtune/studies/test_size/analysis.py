"""Compare subsamples of a saved evaluation with theory, to find how large a test must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medtune.analysis.compare import (
    compare_evaluations,
    minimum_detectable_difference,
    pair_outcomes,
)
from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import ComparisonRecord, EvaluationRecord, Outcome, Prediction
from medtune.core.schemas.dataset import NO_SUBJECT
from medtune.studies.test_size.schema import (
    AccuracyAtSize,
    AccuracyBySize,
    DifferenceAtSize,
    DifferenceBySize,
    SamplePlan,
    SampleSizeRecord,
    StratifiedSpread,
)
from medtune.studies.test_size.subsample import (
    Counts,
    SubjectCounts,
    bootstrap_deviation_ratio,
    correct_finite_population,
    count_right,
    mcnemar_p_values,
    summarize_spread,
    wilson_intervals,
)

MIN_QUESTIONS = 20
ALPHA = 0.05

SubjectAllocations = Mapping[int, Mapping[str, int]]
"""Number of questions to draw, by size and subject."""


def count_subjects(predictions: Sequence[Prediction]) -> dict[str, int]:
    """Count questions by subject; those without a subject form one group.

    Raises:
        PredictionsError: No question has a subject.
    """
    names = _subjects(predictions)
    if set(names) <= {NO_SUBJECT}:
        raise PredictionsError(
            "no question has a subject",
            expected="subjects to draw by",
            fix="leave out --by-subject, or evaluate with --map subject=COLUMN",
        )
    return {name: names.count(name) for name in dict.fromkeys(names)}


def build_sample_size_record(
    a: Evaluation, b: Evaluation | None, plan: SamplePlan, lots: SubjectAllocations | None = None
) -> SampleSizeRecord:
    """Build the record of the test-size study.

    Args:
        a: An evaluation; with a second one, the reference.
        b: The candidate, on the same questions.
        plan: Sizes, draws and seed.
        lots: Questions to draw of each subject, for every size within the split; None draws no
            stratified subsamples.

    Raises:
        PredictionsError: There are too few questions, one occurs twice, or the evaluations are not
            of the same questions.
    """
    exams = [a, b] if b is not None else [a]
    record, predictions = a
    n = len(predictions)
    _check_questions(a)
    comparison = compare_evaluations(a, b) if b is not None else None
    rights = (
        list(pair_outcomes(*a, *b))
        if b is not None
        else [[p.outcome == Outcome.CORRECT for p in predictions]]
    )
    tally = SubjectCounts.from_outcomes(rights, _subjects(predictions))
    evaluations = tuple(
        AccuracyBySize(
            label=exam.label,
            accuracy=exam.accuracy,
            chance=exam.chance,
            majority=exam.majority,
            majority_letter=exam.majority_letter,
            sizes=tuple(
                _accuracy_at_size(exam, bit, tally, size, plan, lots)
                for size in plan.sizes_within(n)
            ),
        )
        for bit, (exam, _) in enumerate(exams)
    )
    difference = _difference_by_size(comparison, tally, plan) if comparison is not None else None
    return SampleSizeRecord(
        split=record.data.source,
        method=record.method,
        n=n,
        draws=plan.draws,
        seed=plan.seed,
        left_out=tuple(size for size in plan.sizes if size > n),
        subjects=len(tally.subjects) if lots is not None else None,
        evaluations=evaluations,
        difference=difference,
        verdict=_size_verdict(evaluations, difference),
        subjects_verdict=_subjects_verdict(evaluations[-1]),
        provenance=collect_provenance(),
    )


def _check_questions(evaluation: Evaluation) -> None:
    record, predictions = evaluation
    if len(predictions) < MIN_QUESTIONS:
        raise PredictionsError(
            f"{record.label} answered {len(predictions)} questions",
            expected=f"{MIN_QUESTIONS} or more, to draw smaller tests from",
            fix="evaluate on a larger split",
        )
    if len({(p.id, p.options, p.answer) for p in predictions}) < len(predictions):
        raise PredictionsError(
            f"{record.label} holds a question twice", expected="every question once"
        )


def _subjects(predictions: Sequence[Prediction]) -> list[str]:
    return [(p.subject or "").strip() or NO_SUBJECT for p in predictions]


def _accuracy_at_size(
    record: EvaluationRecord,
    bit: int,
    tally: SubjectCounts,
    n: int,
    plan: SamplePlan,
    lots: SubjectAllocations | None,
) -> AccuracyAtSize:
    correct = count_right(tally.draw_plain(n, plan.draws, plan.seed), bit)
    low, high = wilson_intervals(correct, n)
    value = record.accuracy.value
    error = math.sqrt(value * (1 - value) / n)

    def excludes(level: float) -> float:
        return float(np.mean((low > level) | (high < level)))

    return AccuracyAtSize(
        n=n,
        spread=summarize_spread(correct, n),
        standard_error=error,
        standard_error_finite=correct_finite_population(error, n, record.accuracy.n),
        half_width=float(np.mean(high - low)) / 2,
        coverage=1 - excludes(value),
        excludes_chance=excludes(record.chance),
        excludes_majority=excludes(record.majority.value),
        stratified=_stratified_spread(correct, bit, tally, plan, lots[n])
        if lots is not None
        else None,
    )


def _stratified_spread(
    plain: Counts, bit: int, tally: SubjectCounts, plan: SamplePlan, lots: Mapping[str, int]
) -> StratifiedSpread:
    n = sum(lots.values())
    correct = count_right(tally.draw_stratified(lots, plan.draws, plan.seed), bit)
    ratio, low, high = bootstrap_deviation_ratio(correct, plain, plan.seed, n) or (None, None, None)
    return StratifiedSpread(
        spread=summarize_spread(correct, n),
        standard_error=tally.stratified_error(lots, bit),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        subjects_missed=sum(not lots[name] for name in tally.subjects),
    )


def _difference_by_size(
    comparison: ComparisonRecord, tally: SubjectCounts, plan: SamplePlan
) -> DifferenceBySize:
    low, high = comparison.difference_low, comparison.difference_high
    nearer = min(abs(low), abs(high)) if low * high > 0 else 0.0
    return DifferenceBySize(
        comparison=comparison,
        discordance=(comparison.only_a + comparison.only_b) / comparison.n,
        sizes=tuple(
            _difference_at(comparison, tally, n, plan) for n in plan.sizes_within(comparison.n)
        ),
        needed=required_questions(comparison, comparison.difference),
        needed_if_smaller=required_questions(comparison, nearer),
    )


def _difference_at(
    comparison: ComparisonRecord, tally: SubjectCounts, n: int, plan: SamplePlan
) -> DifferenceAtSize:
    total, observed = comparison.n, comparison.difference
    drawn = tally.draw_plain(n, plan.draws, plan.seed)
    # Kinds are bit masks: 1 is only a right, 2 only b.
    gap = drawn[:, 2] - drawn[:, 1]
    found = mcnemar_p_values(drawn[:, 1], drawn[:, 2]) < ALPHA
    fresh = tally.draw_fresh(n, plan.draws, plan.seed)
    rate = (comparison.only_a + comparison.only_b) / total
    error = math.sqrt((rate - observed**2) / n)
    return DifferenceAtSize(
        n=n,
        spread=summarize_spread(gap, n),
        standard_error=error,
        standard_error_finite=correct_finite_population(error, n, total),
        power=float(np.mean(found)),
        power_fresh=float(np.mean(mcnemar_p_values(fresh[:, 1], fresh[:, 2]) < ALPHA)),
        wrong_sign=float(np.mean(found & (gap * observed < 0))) if observed else None,
        minimum_detectable=scale_detectable_difference(n, comparison),
    )


def scale_detectable_difference(n: int, comparison: ComparisonRecord) -> float:
    """Scale the minimum detectable difference of a comparison to n questions.

    It falls with the square root of n, and is at most 1.
    """
    whole = minimum_detectable_difference(comparison.only_a + comparison.only_b, comparison.n)
    return min(1.0, whole * math.sqrt(comparison.n / n))


def required_questions(comparison: ComparisonRecord, difference: float) -> int | None:
    """Return the number of questions at which a difference is the minimum detectable one.

    Returns None for a difference of 0.
    """
    if not difference:
        return None
    return math.ceil(comparison.n * (comparison.minimum_detectable / abs(difference)) ** 2 - 1e-9)


def _size_verdict(
    evaluations: Sequence[AccuracyBySize], difference: DifferenceBySize | None
) -> str:
    """Write the verdict on the sizes in a few sentences."""
    last = evaluations[-1]
    first, full = last.sizes[0], last.sizes[-1]
    text = (
        f"With {full.n:,} questions the 95 % interval of {last.label}'s accuracy "
        f"({100 * last.accuracy.value:.1f} %) is ±{100 * full.half_width:.1f} points"
    )
    if first.n < full.n:
        text += (
            f"; with {first.n:,} it is ±{100 * first.half_width:.1f}, and 95 % of such subsamples "
            f"have an accuracy of {100 * first.spread.low:.1f} to {100 * first.spread.high:.1f} %"
        )
    if difference is None:
        return f"{text}."
    observed = 100 * difference.comparison.difference
    if difference.needed is None:
        return f"{text}. No difference was observed, so no size would find it."
    text += (
        f". To find a true difference as large as the observed {observed:+.1f} points with 80 % "
        f"power you need about {difference.needed:,} questions"
    )
    if difference.needed_if_smaller is None:
        return f"{text}; but there may be no difference at all: its 95 % interval includes 0."
    return (
        f"{text}, and {difference.needed_if_smaller:,} if it is as small as its 95 % interval "
        "allows."
    )


def _subjects_verdict(exam: AccuracyBySize) -> str | None:
    """Write the verdict on stratification, at the largest size below the full split."""
    for size in reversed(exam.sizes):
        drawn = size.stratified
        if drawn and drawn.ratio is not None and size.standard_error_finite:
            theory = drawn.standard_error / size.standard_error_finite
            return (
                f"Stratified by subject, the accuracy on {size.n:,} questions has by theory "
                f"{theory:.3f} times the standard deviation of simple random samples; in these "
                "subsamples "
                f"{drawn.ratio:.3f} times (95 % {drawn.ratio_low:.3f} to {drawn.ratio_high:.3f})."
            )
    return None
