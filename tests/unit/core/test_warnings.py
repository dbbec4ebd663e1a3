from __future__ import annotations

from typing import Any

import pytest
from tests.unit.analysis import synthetic

from medtune.analysis.analyze import analyze_evaluation, evaluation_faults
from medtune.cli.output import show_record
from medtune.core.predictions_io import Evaluation
from medtune.core.records import EvaluationRecord
from medtune.core.warnings import accuracy_caveats

TOLD = {
    "trained_on": (7, "the model was trained on 7 of these 60 questions"),
    "ties": (3, "on 3 of 60 questions two or more options have exactly the highest score"),
}


def evaluation(**changes: Any) -> tuple[EvaluationRecord, Any]:
    return synthetic.evaluation("tuned", synthetic.predictions(60, 0.5), **changes)


@pytest.mark.parametrize("name", TOLD)
def test_what_an_accuracy_rests_on_is_said_everywhere(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    count, sentence = TOLD[name]
    record, predictions = evaluation(**{name: count})
    (said,) = accuracy_caveats(record)
    assert sentence in said
    assert said in evaluation_faults(record)  # the run's report
    assert said in analyze_evaluation("e", Evaluation(record, predictions)).warnings  # its pages
    show_record(record)
    assert sentence in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("nothing", [0, None])
def test_nothing_is_said_of_nothing(nothing: int | None) -> None:
    record, _ = evaluation(trained_on=nothing, ties=nothing)
    assert accuracy_caveats(record) == []


def test_of_an_adapter_the_unknown_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = "Whether the adapter was trained on these questions is unknown."
    show_record(evaluation()[0])
    assert unknown in " ".join(capsys.readouterr().out.split())
    show_record(evaluation(trained_on=0)[0])
    assert unknown not in " ".join(capsys.readouterr().out.split())


def test_a_record_without_these_figures_is_still_read() -> None:
    record, _ = evaluation(trained_on=1, ties=1)
    fields = record.model_dump(mode="json")
    for name in TOLD:
        del fields[name]
    old = EvaluationRecord.model_validate(fields)
    assert (old.ties, old.trained_on) == (None, None)


@pytest.mark.parametrize(
    ("source", "parameters", "said"),
    [("search:ix", 0, True), ("search:ix", 1, False), ("fake:oracle", 0, False)],
)
def test_of_a_search_without_a_scorer_its_confidence_is_told(
    source: str, parameters: int, said: bool
) -> None:
    record, _ = evaluation()
    model = record.model.model_copy(update={"source": source, "parameters": parameters})
    found = accuracy_caveats(record.model_copy(update={"model": model}))
    assert ["no scorer was fitted to the index" in caveat for caveat in found] == [True] * said
