"""How large must a test be?  Subsamples of a saved evaluation beside what theory says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medtune.analysis.compare import compare, minimum_detectable, paired_outcomes
from medtune.core.errors import PredictionsError
from medtune.core.provenance import provenance
from medtune.core.records import ComparisonRecord, EvaluationRecord, Outcome, Prediction
from medtune.core.schemas.dataset import UNKNOWN
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
    deviation_ratio,
    finite,
    intervals,
    mcnemar,
    right,
    spread,
)
from medtune.studies.test_size.verdict import subjects_verdict, verdict

LEAST_QUESTIONS = 20
ALPHA = 0.05

Evaluation = tuple[EvaluationRecord, Sequence[Prediction]]
Lots = Mapping[int, Mapping[str, int]]
"""By size and subject: how many questions to draw."""


def subject_counts(predictions: Sequence[Prediction]) -> dict[str, int]:
    """Count questions by subject; those without one stand together.

    Raises:
        PredictionsError: None has one.
    """
    names = _subjects(predictions)
    if set(names) <= {UNKNOWN}:
        raise PredictionsError(
            "no question has a subject",
            expected="subjects to draw by",
            fix="leave out --by-subject, or evaluate with --map subject=COLUMN",
        )
    return {name: names.count(name) for name in dict.fromkeys(names)}


def sample_size(
    a: Evaluation, b: Evaluation | None, plan: SamplePlan, lots: Lots | None = None
) -> SampleSizeRecord:
    """Show what smaller tests would have shown.

    Args:
        a: An evaluation; with a second one, the reference.
        b: The candidate, on the same questions.
        plan: What to draw.
        lots: For every size within the split, how many questions of each subject to draw; None
            draws without regard to subjects.

    Raises:
        PredictionsError: There are too few questions, one is there twice, or the evaluations are
            not of the same ones.
    """
    exams = [a, b] if b is not None else [a]
    record, predictions = a
    n = len(predictions)
    _check(a)
    comparison = compare(a, b) if b is not None else None
    rights = (
        list(paired_outcomes(*a, *b))
        if b is not None
        else [[p.outcome == Outcome.CORRECT for p in predictions]]
    )
    tally = SubjectCounts.of(rights, _subjects(predictions))
    evaluations = tuple(
        AccuracyBySize(
            label=exam.label,
            accuracy=exam.accuracy,
            chance=exam.chance,
            majority=exam.majority,
            majority_letter=exam.majority_letter,
            sizes=tuple(_accuracy(exam, bit, tally, size, plan, lots) for size in plan.within(n)),
        )
        for bit, (exam, _) in enumerate(exams)
    )
    difference = _difference(comparison, tally, plan) if comparison is not None else None
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
        verdict=verdict(evaluations, difference),
        subjects_verdict=subjects_verdict(evaluations[-1]),
        provenance=provenance(),
    )


def _check(evaluation: Evaluation) -> None:
    record, predictions = evaluation
    if len(predictions) < LEAST_QUESTIONS:
        raise PredictionsError(
            f"{record.label} answered {len(predictions)} questions",
            expected=f"{LEAST_QUESTIONS} or more, to draw smaller tests from",
            fix="evaluate on a larger split",
        )
    if len({(p.id, p.options, p.answer) for p in predictions}) < len(predictions):
        raise PredictionsError(
            f"{record.label} holds a question twice", expected="every question once"
        )


def _subjects(predictions: Sequence[Prediction]) -> list[str]:
    return [(p.subject or "").strip() or UNKNOWN for p in predictions]


def _accuracy(
    record: EvaluationRecord,
    bit: int,
    tally: SubjectCounts,
    n: int,
    plan: SamplePlan,
    lots: Lots | None,
) -> AccuracyAtSize:
    correct = right(tally.plain(n, plan.draws, plan.seed), bit)
    low, high = intervals(correct, n)
    value = record.accuracy.value
    error = math.sqrt(value * (1 - value) / n)

    def excludes(level: float) -> float:
        return float(np.mean((low > level) | (high < level)))

    return AccuracyAtSize(
        n=n,
        spread=spread(correct, n),
        standard_error=error,
        standard_error_finite=finite(error, n, record.accuracy.n),
        half_width=float(np.mean(high - low)) / 2,
        coverage=1 - excludes(value),
        excludes_chance=excludes(record.chance),
        excludes_majority=excludes(record.majority.value),
        stratified=_stratified(correct, bit, tally, plan, lots[n]) if lots is not None else None,
    )


def _stratified(
    plain: Counts, bit: int, tally: SubjectCounts, plan: SamplePlan, lots: Mapping[str, int]
) -> StratifiedSpread:
    n = sum(lots.values())
    correct = right(tally.stratified(lots, plan.draws, plan.seed), bit)
    ratio, low, high = deviation_ratio(correct, plain, plan.seed, n) or (None, None, None)
    return StratifiedSpread(
        spread=spread(correct, n),
        standard_error=tally.stratified_error(lots, bit),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        subjects_missed=sum(not lots[name] for name in tally.subjects),
    )


def _difference(
    comparison: ComparisonRecord, tally: SubjectCounts, plan: SamplePlan
) -> DifferenceBySize:
    low, high = comparison.difference_low, comparison.difference_high
    nearer = min(abs(low), abs(high)) if low * high > 0 else 0.0
    return DifferenceBySize(
        comparison=comparison,
        discordance=(comparison.only_a + comparison.only_b) / comparison.n,
        sizes=tuple(_difference_at(comparison, tally, n, plan) for n in plan.within(comparison.n)),
        needed=needed(comparison, comparison.difference),
        needed_if_smaller=needed(comparison, nearer),
    )


def _difference_at(
    comparison: ComparisonRecord, tally: SubjectCounts, n: int, plan: SamplePlan
) -> DifferenceAtSize:
    total, observed = comparison.n, comparison.difference
    drawn = tally.plain(n, plan.draws, plan.seed)
    # Kinds are bits: 1 is only a right, 2 only b.
    gap = drawn[:, 2] - drawn[:, 1]
    found = mcnemar(drawn[:, 1], drawn[:, 2]) < ALPHA
    fresh = tally.fresh(n, plan.draws, plan.seed)
    rate = (comparison.only_a + comparison.only_b) / total
    error = math.sqrt((rate - observed**2) / n)
    return DifferenceAtSize(
        n=n,
        spread=spread(gap, n),
        standard_error=error,
        standard_error_finite=finite(error, n, total),
        power=float(np.mean(found)),
        power_fresh=float(np.mean(mcnemar(fresh[:, 1], fresh[:, 2]) < ALPHA)),
        wrong_sign=float(np.mean(found & (gap * observed < 0))) if observed else None,
        minimum_detectable=detectable_at(n, comparison),
    )


def detectable_at(n: int, comparison: ComparisonRecord) -> float:
    """Scale the minimum detectable difference of a comparison to n questions.

    It falls with the square root of their number, and cannot be more than 1.
    """
    whole = minimum_detectable(comparison.only_a + comparison.only_b, comparison.n)
    return min(1.0, whole * math.sqrt(comparison.n / n))


def needed(comparison: ComparisonRecord, difference: float) -> int | None:
    """Count the questions at which a difference is the minimum detectable one.

    None for no difference: no number is enough.
    """
    if not difference:
        return None
    return math.ceil(comparison.n * (comparison.minimum_detectable / abs(difference)) ** 2 - 1e-9)
