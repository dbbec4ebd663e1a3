"""What each of the notebook's mistakes was worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medtune.analysis.analyze import Evaluation
from medtune.analysis.compare import compare
from medtune.core.intervals import wilson
from medtune.core.provenance import provenance
from medtune.core.records import (
    Outcome,
    Proportion,
    SplitDescription,
    TrainingRecord,
)
from medtune.evaluation.run_exam import count
from medtune.studies.ablation.schema import RUNGS, AblationRecord, RungRecord

Contains = Callable[[str, str], bool]
"""Tell whether an answer counts for the notebook: (answer, right option's text)."""


@dataclass(frozen=True, slots=True)
class ModelEvaluations:
    """How one model was examined."""

    free: Evaluation
    """Free answers, through its own template."""
    likelihood: Evaluation
    """By the likelihood of the letters."""
    foreign: Evaluation | None = None
    """Free answers, through another model's template."""


def climb(
    name: str,
    base: ModelEvaluations,
    asked: Mapping[str, ModelEvaluations],
    trainings: Mapping[str, TrainingRecord],
    data: SplitDescription,
    few: int,
    contains: Contains,
    cell_s: float,
) -> AblationRecord:
    """Put the rungs above each other.

    Args:
        name: Of the experiment.
        base: The untrained model.
        asked: The trained ones, by training.
        trainings: Their records.
        data: What the last one was trained on.
        few: Questions that the others were.
        contains: The notebook's matcher.
        cell_s: Seconds of trainings and examinations.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    rungs: list[RungRecord] = []
    former: Evaluation | None = None
    for rung in RUNGS:
        mine = asked[rung.training]
        plain = mine.foreign if rung.foreign else mine.free
        assert plain is not None, "the notebook's model is asked both ways"
        named = _named(plain, rung.name)
        counted = as_the_notebook_counts(named, contains) if rung.substring else named
        rungs.append(
            RungRecord(
                rung=rung,
                accuracy=counted[0].accuracy,
                gain=compare(former, counted) if former else None,
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
        provenance=provenance(base.free[0].provenance.gpu),
    )


def as_the_notebook_counts(evaluation: Evaluation, contains: Contains) -> Evaluation:
    """Count an answer as right that contains the right option's text, or most of its words."""
    record, predictions = evaluation
    counted = []
    for p in predictions:
        assert p.text is not None, "free answers have a text"
        right = contains(p.text, p.options[p.answer])
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        counted.append(p.model_copy(update={"outcome": outcome}))
    counts = count(counted)
    accuracy = wilson(counts.correct, counts.n)
    return record.model_copy(update={"counts": counts, "accuracy": accuracy}), counted


def _named(evaluation: Evaluation, label: str) -> Evaluation:
    record, predictions = evaluation
    return record.model_copy(update={"label": label}), predictions


def _verdict(rungs: Sequence[RungRecord], base: ModelEvaluations) -> str:
    reported, strict, last = rungs[0].accuracy, rungs[1].accuracy, rungs[-1].accuracy
    letters = rungs[-1].likelihood
    assert letters is not None, "the last rung is asked through its own template"
    chance, majority = base.free[0].chance, base.free[0].majority
    above = "above" if letters.accuracy.low > majority.value else "not detectably above"
    return (
        f"Done and counted as in the notebook: {_said(reported)}; the same answers read strictly: "
        f"{_said(strict)}; with every mistake mended: {_said(last)}, by the likelihood of its "
        f"letters {_said(letters.accuracy)}, which is {above} the majority letter's "
        f"{100 * majority.value:.1f} % (n = {last.n}, chance {100 * chance:.1f} %)."
    )


def _said(proportion: Proportion) -> str:
    value, low, high = (100 * x for x in (proportion.value, proportion.low, proportion.high))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"
