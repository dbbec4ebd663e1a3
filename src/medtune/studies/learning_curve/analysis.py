"""Compare many random training questions with few selected ones, and fit the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
from numpy.typing import NDArray

from medtune.analysis.breakdown import holm_correction
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.seed_spread import (
    accuracy_by_question,
    align_repeats,
    mean_with_interval,
    paired_p_value,
)
from medtune.core.experiment import RetrievalKind
from medtune.core.formatting import format_p_value
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import Outcome, SplitDescription, TrainingRecord
from medtune.studies.learning_curve.power_law import (
    EXPONENTS,
    MIN_SIZES,
    CurveNoise,
    fit_power_law,
)
from medtune.studies.learning_curve.schema import (
    Arm,
    Contrast,
    CurvePoint,
    LearningCurve,
    LearningCurveRecord,
)

NOTEBOOK_SIZES = (500, 2000)
"""Few and many of the notebook's question."""
FEW_RATIO = 4
"""Without these sizes many is the largest, and few the size nearest to a quarter of it."""


@dataclass(frozen=True, slots=True)
class ArmResults:
    """Training records and evaluations of one arm, by seed."""

    trainings: Mapping[int, TrainingRecord]
    evaluations: Mapping[int, Evaluation]

    def right(self, base: Evaluation) -> NDArray[np.float64]:
        """Return whether each answer is right, `[seed, question]`, in the base's order."""
        rows = align_repeats(base[1], [some for _, some in self.evaluations.values()])
        return np.array([[p.outcome is Outcome.CORRECT for p in row] for row in rows], float).T


def build_learning_curve_record(
    name: str,
    bases: Mapping[RetrievalKind, Evaluation],
    grown: Mapping[Arm, ArmResults],
    pool: SplitDescription,
    cell_s: float,
) -> LearningCurveRecord:
    """Build the record of the learning curves.

    Args:
        name: Name of the experiment.
        bases: Evaluations of the base model by kind of retrieval, the closed book first.
        grown: Results of the arms, on the same questions.
        pool: Pool of training questions.
        cell_s: Seconds of trainings and evaluations.

    Raises:
        PredictionsError: The evaluations are not of the same questions.
    """
    base = next(iter(bases.values()))
    record, asked = base
    before = {kind: accuracy_by_question(asked, [some]) for kind, (_, some) in bases.items()}
    right = {arm: one.right(base) for arm, one in grown.items()}
    points = tuple(
        _point(arm, one, right[arm].mean(axis=0), before[arm.retrieval])
        for arm, one in grown.items()
    )
    contrasts = _contrast_all(grown, right)
    return LearningCurveRecord(
        name=name,
        model=record.model,
        pool=pool,
        bases={kind: one for kind, (one, _) in bases.items()},
        points=points,
        contrasts=contrasts,
        curves=fit_curves(right),
        verdict=_verdict(contrasts, points, len(asked)),
        cell_s=cell_s,
        provenance=collect_provenance(record.provenance.gpu),
    )


def pair_contrasts(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Pair few selected questions with many random ones, at otherwise equal settings."""
    sizes = {arm.size for arm in arms}
    # Few are of a size that other selections have as well, where there are others.
    selected = {arm.size for arm in arms if arm.selection != "random"} or sizes
    few, many = NOTEBOOK_SIZES
    if few not in selected or many not in sizes:
        many = max(sizes)
        fewer = sorted(selected - {many})
        few = min(fewer, key=lambda size: abs(size - many / FEW_RATIO), default=many)
    return [
        (arm, other)
        for arm in arms
        for other in arms
        if arm.size == few < other.size == many
        and other.selection == "random"
        and arm.setting == other.setting
    ]


def _point(
    arm: Arm, one: ArmResults, means: NDArray[np.float64], before: Sequence[float]
) -> CurvePoint:
    right = means.tolist()
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


def fit_curves(right: Mapping[Arm, NDArray[np.float64]]) -> tuple[LearningCurve, ...]:
    """Fit a power law to every way to choose and use questions.

    Args:
        right: Whether each answer of an arm is right, `[seed, question]`.
    """
    grown: dict[tuple[str, str], list[Arm]] = {}
    for arm in sorted(right, key=lambda arm: arm.size):
        grown.setdefault((arm.selection, arm.setting), []).append(arm)
    curves = []
    for arms in grown.values():
        law = None
        outcomes = [right[arm] for arm in arms]
        noise = CurveNoise.estimate(outcomes)
        if len(arms) >= MIN_SIZES:
            means = [float(one.mean()) for one in outcomes]
            law = fit_power_law([arm.size for arm in arms], means, noise)
        curve = LearningCurve(
            arm=arms[-1], law=law, seed_deviation=noise.seed_deviation, verdict=""
        )
        verdict = _curve_verdict(curve, len(arms))
        curves.append(curve.model_copy(update={"verdict": verdict}))
    return tuple(curves)


def _curve_verdict(curve: LearningCurve, sizes: int) -> str:
    """Say what the next doubling of questions buys, or why that cannot be told."""
    arm, law = curve.arm, curve.law
    name = f"{arm.selection} questions ({arm.setting})"
    if law is None:
        return f"{name}: no curve is fitted to {sizes} sizes; it takes {MIN_SIZES} or more."
    found = law.doubling
    step = f"from {arm.size:,} to {2 * arm.size:,}"
    if not law.is_told:
        said = f"what the next doubling buys, {step}, cannot be told: "
    elif found.value > 0:
        said = f"the next doubling, {step}, buys "
    else:
        said = f"accuracy falls with more questions; the next doubling, {step}, changes it by "
    said += _format_interval(found.value, found.low, found.high)
    caveats = [f"power law of {sizes} sizes"]
    if curve.seed_deviation is None:
        caveats.append("one seed each, whose spread the interval lacks")
    if law.is_told and (law.ceiling.value >= 1 or law.exponent.value <= EXPONENTS[0]):
        caveats.append("which do not bend towards a ceiling yet")
    if law.misfit_p < 0.05:
        caveats.append(f"which deviate from it, p {format_p_value(law.misfit_p)}")
    return f"{name}: {said} ({', '.join(caveats)})."


def _contrast_all(
    grown: Mapping[Arm, ArmResults], right: Mapping[Arm, NDArray[np.float64]]
) -> tuple[Contrast, ...]:
    """Test every contrast, and correct the p-values by Holm."""
    found = [
        _contrast(few, many, grown, right[few].mean(axis=0), right[many].mean(axis=0))
        for few, many in pair_contrasts(list(grown))
    ]
    corrected = holm_correction([contrast.p_value for contrast in found])
    return tuple(
        contrast.model_copy(update={"p_holm": p})
        for contrast, p in zip(found, corrected, strict=True)
    )


def _contrast(
    few: Arm,
    many: Arm,
    grown: Mapping[Arm, ArmResults],
    less: NDArray[np.float64],
    more: NDArray[np.float64],
) -> Contrast:
    """Test a contrast: single trainings by their answers, else by each question's mean."""
    a, b = grown[few].evaluations, grown[many].evaluations
    if len(a) == len(b) == 1:
        compared = compare_evaluations(*a.values(), *b.values())
        difference, p_value = compared.difference, compared.p_value
        low, high = compared.difference_low, compared.difference_high
    else:
        gaps = (more - less).tolist()
        difference, low, high = mean_with_interval(gaps)
        p_value = paired_p_value(gaps)
    return Contrast(
        few=few,
        many=many,
        n=len(less),
        seeds_few=len(a),
        seeds_many=len(b),
        difference=difference,
        low=low,
        high=high,
        test="exact McNemar" if len(a) == len(b) == 1 else "paired z",
        p_value=p_value,
        p_holm=p_value,
    )


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
        f"({c.few.setting}): {_winner(c)} "
        f"({_format_interval(c.difference, c.low, c.high)}; {describe_test(c)})"
        for c in curated
    ]
    return "; ".join([f"{head} (n = {n})", *parts]) + "."


def describe_test(contrast: Contrast) -> str:
    """Describe the test of a contrast: p-value, n and trainings."""
    c = contrast
    seeds = f"{c.seeds_few}" if c.seeds_few == c.seeds_many else f"{c.seeds_few} and {c.seeds_many}"
    trainings = "one training each" if seeds == "1" else f"means of {seeds} trainings"
    return f"{c.test}, {trainings}, p after Holm {format_p_value(c.p_holm)}, n = {c.n:,}"


def _winner(contrast: Contrast) -> str:
    if contrast.p_holm >= 0.05:
        return "no detectable difference"
    better = contrast.many if contrast.difference > 0 else contrast.few
    return f"the {better.size:,} are better"


def _format_interval(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f}"
