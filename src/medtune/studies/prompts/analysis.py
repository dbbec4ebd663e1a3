"""Which wording a model answers best, and what is left of that on other questions."""

from __future__ import annotations

from collections.abc import Mapping

from medtune.analysis.analyze import Evaluation
from medtune.analysis.compare import compare
from medtune.analysis.seed_spread import mean_over_questions, right_by_question
from medtune.core.provenance import provenance
from medtune.core.records import ComparisonRecord
from medtune.studies.prompts.schema import PromptPoint, PromptStudyRecord, PromptVariant


def best_of(found: Mapping[PromptVariant, Evaluation]) -> PromptVariant:
    """Choose the most accurate, the first of equals."""
    return max(found, key=lambda variant: found[variant][0].accuracy.value)


def report_choice(
    name: str,
    found: Mapping[PromptVariant, Evaluation],
    own: Evaluation,
    chosen: Evaluation,
    cell_s: float,
) -> PromptStudyRecord:
    """Put the variants side by side, and the choice on other questions behind them.

    Args:
        name: Of the experiment.
        found: On the calibration split, the experiment's own prompt first.
        own: That prompt on the reported split.
        chosen: The chosen one there.
        cell_s: Seconds of all examinations.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    (record, asked), *_ = found.values()
    before = right_by_question(asked, [asked])
    points = []
    for variant, (exam, predictions) in found.items():
        after = right_by_question(asked, [predictions])
        gains = [b - a for a, b in zip(before, after, strict=True)]
        gain, low, high = mean_over_questions(gains)
        points.append(
            PromptPoint(
                variant=variant,
                accuracy=exam.accuracy,
                gain=gain,
                gain_low=low,
                gain_high=high,
            )
        )
    best = best_of(found)
    comparison = compare(own, chosen)
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
        provenance=provenance(record.provenance.gpu),
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
        f"split that it was chosen on, and {100 * comparison.difference:+.1f} on the reported one: "
        f"{comparison.verdict}"
    )
