"""Is it better to have many questions, or few that were chosen well?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from medtune.analysis.analyze import Evaluation
from medtune.analysis.seed_spread import mean_over_questions, right_by_question
from medtune.core.provenance import provenance
from medtune.core.records import SplitDescription, TrainingRecord
from medtune.studies.learning_curve.schema import Arm, Contrast, CurvePoint, LearningCurveRecord

FEW = 4
"""Few are a quarter of many, or the nearest size to that: 500 of 2,000."""


@dataclass(frozen=True, slots=True)
class ArmResults:
    """One arm's trainings and examinations, by seed."""

    trainings: Mapping[int, TrainingRecord]
    evaluations: Mapping[int, Evaluation]


def draw_curve(
    name: str,
    base: Evaluation,
    grown: Mapping[Arm, ArmResults],
    pool: SplitDescription,
    cell_s: float,
) -> LearningCurveRecord:
    """Put all arms side by side.

    Args:
        name: Of the experiment.
        base: The base model's examination.
        grown: The arms, examined on the same questions.
        pool: What they were drawn from.
        cell_s: Seconds of trainings and examinations.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    record, asked = base
    before = right_by_question(asked, [asked])
    right = {
        arm: right_by_question(asked, [some for _, some in one.evaluations.values()])
        for arm, one in grown.items()
    }
    points = tuple(_point(arm, one, right[arm], before) for arm, one in grown.items())
    contrasts = tuple(
        _contrast(few, many, right[few], right[many]) for few, many in opposed(list(grown))
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
        provenance=provenance(record.provenance.gpu),
    )


def opposed(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Pair few that were selected with many at random, other things being equal."""
    sizes = sorted({arm.size for arm in arms})
    many = sizes[-1]
    few = min(sizes[:-1], key=lambda size: abs(size - many / FEW), default=None)
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
    accuracy, low, high = mean_over_questions(right)
    gain, gain_low, gain_high = mean_over_questions(
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
    difference, low, high = mean_over_questions(gaps)
    return Contrast(few=few, many=many, difference=difference, low=low, high=high)


def _verdict(contrasts: Sequence[Contrast], points: Sequence[CurvePoint], n: int) -> str:
    """Answer in a sentence or two: many, few, or no difference to be seen."""
    learned = [point for point in points if point.gain_low > 0]
    if not learned:
        head = "No arm is detectably better than the base model"
    else:
        best = max(learned, key=lambda point: point.gain)
        head = (
            f"{len(learned)} of {len(points)} arms are detectably better than the base model, "
            f"{best.arm.spoken} the most ({_span(best.gain, best.gain_low, best.gain_high)})"
        )
    curated = [c for c in contrasts if c.few.selection != "random"]
    parts = [
        f"{c.many.size:,} at random or {c.few.size:,} {c.few.selection} ({c.few.target}, equal "
        f"{c.few.equal}): {_winner(c)} ({_span(c.difference, c.low, c.high)})"
        for c in curated
    ]
    return "; ".join([f"{head} (n = {n})", *parts]) + "."


def _winner(contrast: Contrast) -> str:
    if contrast.low > 0:
        return f"the {contrast.many.size:,}"
    return f"the {contrast.few.size:,}" if contrast.high < 0 else "no detectable difference"


def _span(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} points, {100 * low:+.1f} to {100 * high:+.1f}"
