"""Compare many random training questions with few selected ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from medtune.analysis.seed_spread import accuracy_by_question, mean_with_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import SplitDescription, TrainingRecord
from medtune.studies.learning_curve.schema import Arm, Contrast, CurvePoint, LearningCurveRecord

FEW_RATIO = 4
"""Ratio of many to few: few is the size nearest to a quarter of many, such as 500 of 2,000."""


@dataclass(frozen=True, slots=True)
class ArmResults:
    """Training records and evaluations of one arm, by seed."""

    trainings: Mapping[int, TrainingRecord]
    evaluations: Mapping[int, Evaluation]


def build_learning_curve_record(
    name: str,
    base: Evaluation,
    grown: Mapping[Arm, ArmResults],
    pool: SplitDescription,
    cell_s: float,
) -> LearningCurveRecord:
    """Build the record of the learning curve.

    Args:
        name: Name of the experiment.
        base: Evaluation of the base model.
        grown: Results of the arms, on the same questions.
        pool: Pool of training questions.
        cell_s: Seconds of trainings and evaluations.

    Raises:
        PredictionsError: The evaluations are not of the same questions.
    """
    record, asked = base
    before = accuracy_by_question(asked, [asked])
    right = {
        arm: accuracy_by_question(asked, [some for _, some in one.evaluations.values()])
        for arm, one in grown.items()
    }
    points = tuple(_point(arm, one, right[arm], before) for arm, one in grown.items())
    contrasts = tuple(
        _contrast(few, many, right[few], right[many]) for few, many in pair_contrasts(list(grown))
    )
    return LearningCurveRecord(
        name=name,
        model=record.model,
        pool=pool,
        base=record,
        points=points,
        contrasts=contrasts,
        verdict=_verdict(contrasts, points, len(asked)),
        cell_s=cell_s,
        provenance=collect_provenance(record.provenance.gpu),
    )


def pair_contrasts(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Pair few selected questions with many random ones, at otherwise equal settings."""
    sizes = sorted({arm.size for arm in arms})
    many = sizes[-1]
    few = min(sizes[:-1], key=lambda size: abs(size - many / FEW_RATIO), default=None)
    return [
        (arm, other)
        for arm in arms
        for other in arms
        if arm.size == few
        and other.size == many
        and other.selection == "random"
        and (arm.target, arm.equal) == (other.target, other.equal)
    ]


def _point(
    arm: Arm, one: ArmResults, right: Sequence[float], before: Sequence[float]
) -> CurvePoint:
    accuracies = tuple(record.accuracy.value for record, _ in one.evaluations.values())
    accuracy, low, high = mean_with_interval(right)
    gain, gain_low, gain_high = mean_with_interval(
        [after - former for after, former in zip(right, before, strict=True)]
    )
    return CurvePoint(
        arm=arm,
        seeds=tuple(one.evaluations),
        steps=max(training.steps for training in one.trainings.values()),
        accuracies=accuracies,
        accuracy=accuracy,
        low=max(0.0, low),
        high=min(1.0, high),
        deviation=stdev(accuracies) if len(accuracies) > 1 else None,
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
    )


def _contrast(few: Arm, many: Arm, less: Sequence[float], more: Sequence[float]) -> Contrast:
    gaps = [b - a for a, b in zip(less, more, strict=True)]
    difference, low, high = mean_with_interval(gaps)
    return Contrast(few=few, many=many, difference=difference, low=low, high=high)


def _verdict(contrasts: Sequence[Contrast], points: Sequence[CurvePoint], n: int) -> str:
    """Write the verdict: many, few, or no detectable difference."""
    learned = [point for point in points if point.gain_low > 0]
    if not learned:
        head = "No arm is detectably better than the base model"
    else:
        best = max(learned, key=lambda point: point.gain)
        head = (
            f"{len(learned)} of {len(points)} arms are detectably better than the base model, "
            f"{best.arm.display_name} the most "
            f"({_format_interval(best.gain, best.gain_low, best.gain_high)})"
        )
    curated = [c for c in contrasts if c.few.selection != "random"]
    parts = [
        f"{c.many.size:,} random against {c.few.size:,} {c.few.selection} questions "
        f"({c.few.target}, equal {c.few.equal}): {_winner(c)} "
        f"({_format_interval(c.difference, c.low, c.high)})"
        for c in curated
    ]
    return "; ".join([f"{head} (n = {n})", *parts]) + "."


def _winner(contrast: Contrast) -> str:
    if contrast.low > 0:
        return f"the {contrast.many.size:,} are better"
    return (
        f"the {contrast.few.size:,} are better" if contrast.high < 0 else "no detectable difference"
    )


def _format_interval(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f}"
