"""Logs of Inspect 0.3.285, made by benchmarks/harness_logs.py, whole and with faults."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.core.errors import PredictionsError
from medtune.core.records import Outcome
from medtune.foreign_logs.read_log import read_evaluation_log

pytest.importorskip("inspect_ai")
FOLDER = Path(__file__).parent / "harness_logs"
LOG, ERROR_LOG = FOLDER / "inspect.eval", FOLDER / "inspect-error.eval"


def changed(path: Path, change: Callable[[Any], None], source: Path = LOG) -> Path:
    """Write a changed log by Inspect's own writer."""
    from inspect_ai.log import read_eval_log, write_eval_log

    log = read_eval_log(str(source))
    change(log)
    write_eval_log(log, str(path))
    return path


def test_choices_answers_and_subjects_are_read() -> None:
    from inspect_ai.log import read_eval_log

    record, predictions = read_evaluation_log(LOG)
    results = read_eval_log(str(LOG)).results
    assert results is not None
    assert record.accuracy.value == results.scores[0].metrics["accuracy"].value == 0.375
    assert [p.chosen for p in predictions] == [3, 3, 0, 2, 1, 0, None, None]
    assert [p.outcome for p in predictions[:3]] == [
        Outcome.CORRECT, Outcome.CORRECT, Outcome.WRONG,
    ]  # fmt: skip
    assert predictions[6].text == "no idea"
    assert predictions[0].options == ("Ketamine", "Midazolam", "Thiopental", "Etomidate")
    assert {p.subject for p in predictions} == {"Anaesthesia", "Anatomy"}
    assert (record.method, record.stop_rate and record.stop_rate.value) == ("generate", 1.0)
    assert record.origin is not None
    assert record.origin.display_name == "inspect_ai 0.3.285"
    assert (record.model.source, record.model.parameters) == ("scripted/model", None)


def test_both_formats_are_the_same(tmp_path: Path) -> None:
    found, same = (
        read_evaluation_log(LOG),
        read_evaluation_log(changed(tmp_path / "log.json", lambda _: None)),
    )
    assert found[1] == same[1]
    assert found[0].prompt_hash == same[0].prompt_hash


def test_samples_with_errors_are_left_out_and_counted() -> None:
    record, predictions = read_evaluation_log(ERROR_LOG)
    assert len(predictions) == 7
    assert record.data.excluded == {"error in the harness": 1}
    assert record.origin is not None
    assert "left out" in record.origin.notes[0]


def test_a_log_is_compared_with_one_of_other_questions(medtune: CommandLine) -> None:
    code, _, err = medtune("compare", str(LOG), str(ERROR_LOG))
    assert code == 2
    assert "7 are the same" in err
    assert ": 1, such as recall-anaesthesia-01" in err


def test_two_logs_are_compared(medtune: CommandLine, tmp_path: Path) -> None:
    def improve(log: Any) -> None:
        score = log.samples[2].scores["choice"]
        score.value, score.answer = "C", "C"
        log.results.scores[0].metrics["accuracy"].value = 0.5

    better = changed(tmp_path / "better.json", improve)
    found = medtune.record("compare", str(LOG), str(better))
    assert (found["both"], found["only_a"], found["only_b"]) == (3, 0, 1)
    assert any("arithmetic and worked examples is unknown" in note for note in found["notes"])
    assert found["differs"] == []
    [page] = tmp_path.glob("runs/compare/*/report.html")
    assert "unknown shots" in page.read_text()


def test_epochs_are_predictions_of_one_group(tmp_path: Path) -> None:
    def repeat(log: Any) -> None:
        log.samples += [sample.model_copy(update={"epoch": 2}) for sample in log.samples]

    record, predictions = read_evaluation_log(changed(tmp_path / "log.json", repeat))
    assert (record.counts.n, record.accuracy.value) == (16, 0.375)
    assert predictions[0].id == "recall-anaesthesia-01#1"
    assert predictions[0].group == predictions[8].group == "recall-anaesthesia-01"


def test_a_run_that_did_not_finish_is_said(tmp_path: Path) -> None:
    def cancel(log: Any) -> None:
        log.status, log.results, log.samples = "cancelled", None, log.samples[:5]

    record, _ = read_evaluation_log(changed(tmp_path / "log.json", cancel))
    assert record.origin is not None
    assert "did not finish (status: cancelled): 5 samples of 8" in record.origin.notes[0]


def test_a_sample_that_the_scorer_left_unscored_is_left_out_and_counted(tmp_path: Path) -> None:
    def unscore(log: Any) -> None:
        log.samples[0].scores["choice"].value = math.nan
        log.results.scores[0].metrics["accuracy"].value = 2 / 7

    path = changed(tmp_path / "log.eval", unscore)
    record, predictions = read_evaluation_log(path)
    assert (len(predictions), record.accuracy.value) == (7, 2 / 7)
    assert record.data.excluded == {"not scored": 1}
    assert record.origin is not None
    assert record.origin.notes == ("1 samples were not scored and are left out.",)


def unscored(log: Any) -> None:
    for sample in log.samples:
        sample.scores["choice"].value = math.nan


def without_choices(log: Any) -> None:
    for sample in log.samples:
        sample.choices = None


def two_answers(log: Any) -> None:
    log.samples[0].target = ["A", "B"]


def other_accuracy(log: Any) -> None:
    log.results.scores[0].metrics["accuracy"].value = 0.5


def no_samples(log: Any) -> None:
    log.samples = []


def not_scored(log: Any) -> None:
    for sample in log.samples:
        sample.scores = None


def twice(log: Any) -> None:
    log.samples[1].id = log.samples[0].id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_choices, "task without choices"),
        (two_answers, r"target \['A', 'B'\]"),
        (other_accuracy, r"says accuracy 0\.5, its 8 samples 0\.375"),
        (no_samples, "has no samples"),
        (not_scored, "has no scored sample"),
        (unscored, "has no scored sample"),
        (twice, "1 ids occur more than once"),
    ],
)
def test_faults_are_named(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        read_evaluation_log(changed(tmp_path / "log.json", change))


def test_another_task_is_refused() -> None:
    with pytest.raises(PredictionsError, match="of the task 'ward'"):
        read_evaluation_log(LOG, "other")


def test_a_log_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    half = tmp_path / "half.eval"
    half.write_bytes(LOG.read_bytes()[: LOG.stat().st_size // 2])
    with pytest.raises(PredictionsError, match="cut off, or no Inspect log"):
        read_evaluation_log(half)
    text = changed(tmp_path / "log.json", lambda _: None)
    text.write_text(text.read_text()[:-200])
    with pytest.raises(PredictionsError, match="cut off, or no Inspect log"):
        read_evaluation_log(text)
    (tmp_path / "empty.eval").write_bytes(b"")
    with pytest.raises(PredictionsError, match="cut off, or no Inspect log"):
        read_evaluation_log(tmp_path / "empty.eval")


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path / "log.json", lambda _: None)
    path.write_text(path.read_text().replace('"version": 2', '"version": 9', 1))
    with pytest.raises(PredictionsError, match="version 9 of Inspect's log format"):
        read_evaluation_log(path)


def test_a_missing_inspect_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(PredictionsError, match="pip install inspect_ai"):
        read_evaluation_log(LOG)
