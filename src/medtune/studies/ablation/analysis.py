"""Compute how much accuracy each of the notebook's bugs cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medtune.analysis.compare import compare_evaluations
from medtune.analysis.outcome_summary import count_outcomes
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    Outcome,
    Proportion,
    SplitDescription,
    TrainingRecord,
)
from medtune.studies.ablation.schema import RUNGS, AblationRecord, RungRecord

SubstringMatcher = Callable[[str, str], bool]
"""The notebook's matcher: (answer, text of the right option) -> whether it counts as right."""


@dataclass(frozen=True, slots=True)
class ModelEvaluations:
    """Evaluations of one model."""

    free: Evaluation
    """Free answers with the model's own chat template."""
    likelihood: Evaluation
    """Evaluation by the likelihood of the letters."""
    foreign: Evaluation | None = None
    """Free answers with another model's chat template."""


def build_ablation_record(
    name: str,
    base: ModelEvaluations,
    asked: Mapping[str, ModelEvaluations],
    trainings: Mapping[str, TrainingRecord],
    data: SplitDescription,
    few: int,
    contains: SubstringMatcher,
    cell_s: float,
) -> AblationRecord:
    """Build the record of the ablation study.

    Args:
        name: Name of the experiment.
        base: Evaluations of the untrained model.
        asked: Evaluations of the trained models, by training.
        trainings: Training records, by training.
        data: Training data of the last rung.
        few: Number of training questions of the other rungs.
        contains: The notebook's matcher.
        cell_s: Seconds of trainings and evaluations.

    Raises:
        PredictionsError: The evaluations are not of the same questions.
    """
    rungs: list[RungRecord] = []
    former: Evaluation | None = None
    for rung in RUNGS:
        mine = asked[rung.training]
        plain = mine.foreign if rung.foreign else mine.free
        assert plain is not None, "the notebook's model is asked both ways"
        named = _with_label(plain, rung.name)
        counted = rescore_by_substring(named, contains) if rung.substring else named
        rungs.append(
            RungRecord(
                rung=rung,
                accuracy=counted[0].accuracy,
                gain=compare_evaluations(former, counted) if former else None,
                evaluation=named[0],
                likelihood=None if rung.foreign else mine.likelihood[0],
            )
        )
        former = counted
    return AblationRecord(
        name=name,
        model=base.free[0].model,
        data=data,
        few=few,
        base=base.free[0],
        base_likelihood=base.likelihood[0],
        rungs=tuple(rungs),
        trainings=dict(trainings),
        verdict=_verdict(rungs, base),
        cell_s=cell_s,
        provenance=collect_provenance(base.free[0].provenance.gpu),
    )


def rescore_by_substring(evaluation: Evaluation, contains: SubstringMatcher) -> Evaluation:
    """Rescore answers: right if they contain the right option's text, or most of its words."""
    record, predictions = evaluation
    counted = []
    for p in predictions:
        assert p.text is not None, "free answers have a text"
        right = contains(p.text, p.options[p.answer])
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        counted.append(p.model_copy(update={"outcome": outcome}))
    counts = count_outcomes(counted)
    accuracy = wilson_interval(counts.correct, counts.n)
    return Evaluation(record.model_copy(update={"counts": counts, "accuracy": accuracy}), counted)


def _with_label(evaluation: Evaluation, label: str) -> Evaluation:
    record, predictions = evaluation
    return Evaluation(record.model_copy(update={"label": label}), predictions)


def _verdict(rungs: Sequence[RungRecord], base: ModelEvaluations) -> str:
    reported, strict, last = rungs[0].accuracy, rungs[1].accuracy, rungs[-1].accuracy
    letters = rungs[-1].likelihood
    assert letters is not None, "the last rung is asked through its own template"
    chance, majority = base.free[0].chance, base.free[0].majority
    above = "above" if letters.accuracy.low > majority.value else "not detectably above"
    return (
        f"Trained and scored as in the notebook: {_format_proportion(reported)}; the same answers "
        f"read strictly: {_format_proportion(strict)}; with every bug fixed: "
        f"{_format_proportion(last)}, by the likelihood of the letters "
        f"{_format_proportion(letters.accuracy)}, which is {above} the majority letter's "
        f"{100 * majority.value:.1f} % (n = {last.n}, 95 % intervals, chance {100 * chance:.1f} %)."
    )


def _format_proportion(proportion: Proportion) -> str:
    p = proportion
    return f"{100 * p.value:.1f} % ({100 * p.low:.1f} to {100 * p.high:.1f})"
