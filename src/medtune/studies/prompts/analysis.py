"""Choose the most accurate prompt and compare it on the reported split."""

from __future__ import annotations

from collections.abc import Mapping

from medtune.analysis.compare import compare_evaluations
from medtune.analysis.seed_spread import accuracy_by_question, mean_with_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import ComparisonRecord
from medtune.studies.prompts.schema import PromptPoint, PromptStudyRecord, PromptVariant


def find_most_accurate(found: Mapping[PromptVariant, Evaluation]) -> PromptVariant:
    """Return the most accurate variant; the first among equals."""
    return max(found, key=lambda variant: found[variant][0].accuracy.value)


def build_prompt_study_record(
    name: str,
    found: Mapping[PromptVariant, Evaluation],
    own: Evaluation,
    chosen: Evaluation,
    cell_s: float,
) -> PromptStudyRecord:
    """Build the record of the prompt study.

    Args:
        name: Name of the experiment.
        found: Evaluations on the calibration split, the experiment's own prompt first.
        own: Evaluation of the experiment's own prompt on the reported split.
        chosen: Evaluation of the chosen prompt on the reported split.
        cell_s: Seconds of all evaluations.

    Raises:
        PredictionsError: The evaluations are not of the same questions.
    """
    (record, asked), *_ = found.values()
    before = accuracy_by_question(asked, [asked])
    points = []
    for variant, (exam, predictions) in found.items():
        after = accuracy_by_question(asked, [predictions])
        gains = [b - a for a, b in zip(before, after, strict=True)]
        gain, low, high = mean_with_interval(gains)
        points.append(
            PromptPoint(
                variant=variant,
                accuracy=exam.accuracy,
                gain=gain,
                gain_low=low,
                gain_high=high,
            )
        )
    best = find_most_accurate(found)
    comparison = compare_evaluations(own, chosen)
    return PromptStudyRecord(
        name=name,
        model=record.model,
        method=record.method,
        calibration=record.data,
        points=tuple(points),
        chosen=best,
        own_reported=own[0],
        chosen_reported=chosen[0],
        comparison=comparison,
        verdict=_verdict(points, best, comparison),
        cell_s=cell_s,
        provenance=collect_provenance(record.provenance.gpu),
    )


def _verdict(points: list[PromptPoint], best: PromptVariant, comparison: ComparisonRecord) -> str:
    own, *others = points
    if best == own.variant:
        return (
            f"The experiment's own prompt is the best of {len(points)} on the calibration split "
            f"({100 * own.accuracy.value:.1f} %, n = {own.accuracy.n})."
        )
    gain = next(point.gain for point in others if point.variant == best)
    return (
        f"The best of {len(points)} prompts gains {100 * gain:+.1f} points on the calibration "
        f"split that it was chosen on, and {100 * comparison.difference:+.1f} on the reported "
        f"split: {comparison.verdict}"
    )
