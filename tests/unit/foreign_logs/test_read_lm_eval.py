from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.foreign_logs.harness_log import (
    CHOICES,
    DATE,
    LOGPROBS,
    TARGETS,
    read_answers,
    results_of,
    scored_samples,
    write_log,
)

from medtune.core.errors import ColumnError, PredictionsError
from medtune.core.experiment import ColumnMapping
from medtune.core.predictions_io import read_evaluation, write_evaluation
from medtune.core.records import Outcome
from medtune.foreign_logs.read_log import list_evaluations, read_evaluation_log

LONG_CHOICES = (" a", " b but with many more words", " c")


def test_scored_samples_become_predictions(tmp_path: Path) -> None:
    write_log(tmp_path)
    record, predictions = read_evaluation_log(tmp_path)
    assert record.accuracy.value == 0.5
    assert (record.method, record.normalization) == ("letter", "sum")
    assert [p.chosen for p in predictions] == [0, 1, 2, 1]
    assert [p.answer for p in predictions] == list(TARGETS)
    assert [p.logprobs for p in predictions] == list(LOGPROBS)
    first = predictions[0]
    assert (first.id, first.stem) == ("q0", "Question 0?")
    assert first.options == ("one 0", "two 0", "three 0")
    assert first.probabilities == pytest.approx((0.665241, 0.244728, 0.090031), abs=1e-6)
    assert record.origin is not None
    assert record.origin.display_name == "lm-evaluation-harness 0.4.13"
    assert (record.model.source, record.model.dtype) == ("org/model", "float32")


def test_unknown_is_missing_and_not_zero(tmp_path: Path) -> None:
    write_log(tmp_path)
    record, predictions = read_evaluation_log(tmp_path)
    model = record.model
    assert (model.parameters, model.fingerprint, model.device) == (None, None, None)
    assert (record.duration_s, record.questions_per_s, record.trained_on) == (None, None, None)
    assert predictions[0].tokens is None
    assert predictions[0].subject is None


@pytest.mark.parametrize(("results", "shots"), [({"n-shot": {}}, None), ({}, 0)])
def test_shots_are_known_where_the_results_tell_them(
    tmp_path: Path, results: dict[str, Any], shots: int | None
) -> None:
    write_log(tmp_path / "log", results=results_of(scored_samples(), **results))
    record, predictions = read_evaluation_log(tmp_path / "log")
    write_evaluation(tmp_path / "kept", record, predictions)
    assert record.shots == read_evaluation(tmp_path / "kept").record.shots == shots


def test_older_records_with_0_for_unknown_shots_are_read(tmp_path: Path) -> None:
    record, predictions = read_evaluation_log(write_log(tmp_path / "log", results={}))
    assert record.shots is None
    write_evaluation(tmp_path / "kept", record, predictions)
    older = json.loads((tmp_path / "kept" / "record.json").read_text()) | {"shots": 0}
    (tmp_path / "kept" / "record.json").write_text(json.dumps(older))
    assert read_evaluation(tmp_path / "kept").record == record


def test_an_imported_evaluation_is_written_and_read_again(tmp_path: Path) -> None:
    write_log(tmp_path / "log")
    found = read_evaluation_log(tmp_path / "log")
    write_evaluation(tmp_path / "kept", *found)
    record, predictions = read_evaluation(tmp_path / "kept")
    assert (record, predictions) == found


@pytest.mark.parametrize("packed", [False, True])
def test_a_samples_file_is_read_alone(tmp_path: Path, packed: bool) -> None:
    path = write_log(tmp_path, results={}, packed=packed)
    record, _ = read_evaluation_log(path)
    assert record.accuracy.value == 0.5
    assert record.model.source == "unknown model"
    assert record.origin is not None
    assert record.origin.version is None
    assert "no results file" in record.origin.notes[0]


def test_samples_of_the_first_0_4_versions_are_read(tmp_path: Path) -> None:
    """0.4.0 wrote lists of numbers, a JSON list of samples, and no hashes or filters."""
    samples = []
    for sample in scored_samples():
        old = {k: v for k, v in sample.items() if k not in ("filter", "metrics", "prompt_hash")}
        pairs = [list(request.values()) for request in sample["arguments"].values()]
        logprobs = [[float(a[0]), False] for a in sample["filtered_resps"]]
        old |= {"arguments": pairs, "filtered_resps": logprobs, "resps": [[x] for x in logprobs]}
        samples.append(old | {"target": int(sample["target"])})
    results = {"results": {"ward": {"acc,none": 0.5, "alias": "ward"}}, "config": {}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "pretrained__org__model_ward.jsonl").write_text(json.dumps(samples, indent=2))
    record, predictions = read_evaluation_log(tmp_path)
    assert record.accuracy.value == 0.5
    assert [p.logprobs for p in predictions] == list(LOGPROBS)


def test_targets_may_be_texts(tmp_path: Path) -> None:
    write_log(tmp_path, scored_samples(targets=["A", "B", "A", "C"]))
    _, predictions = read_evaluation_log(tmp_path)
    assert [p.answer for p in predictions] == list(TARGETS)


def test_targets_that_are_numbers_and_texts_agree_with_the_metrics(tmp_path: Path) -> None:
    """Choices 1, 2, 3: a target "1" is the first text, or the second index."""
    write_log(tmp_path, scored_samples((" 1", " 2", " 3"), targets=["1", "2", "1", "3"]))
    _, predictions = read_evaluation_log(tmp_path)
    assert [p.answer for p in predictions] == list(TARGETS)


def with_norm() -> list[dict[str, Any]]:
    """Return samples whose second option is long: acc_norm chooses it everywhere."""
    samples = scored_samples(LONG_CHOICES)
    return [
        s | {"metrics": ["acc", "acc_norm"], "acc_norm": float(TARGETS[at] == 1)}
        for at, s in enumerate(samples)
    ]


def test_a_metric_is_chosen(tmp_path: Path) -> None:
    write_log(tmp_path, with_norm())
    by_sum, _ = read_evaluation_log(tmp_path)
    by_length, predictions = read_evaluation_log(tmp_path, metric="acc_norm")
    assert (by_sum.method, by_sum.normalization, by_sum.accuracy.value) == ("cloze", "sum", 0.5)
    assert (by_length.normalization, by_length.accuracy.value) == ("character", 0.25)
    assert {p.chosen for p in predictions} == {1}
    assert predictions[0].options == ("a", "b but with many more words", "c")
    with pytest.raises(PredictionsError, match="no metric 'f1'"):
        read_evaluation_log(tmp_path, metric="f1")


def test_generated_answers_are_those_of_the_filter(tmp_path: Path) -> None:
    write_log(tmp_path, read_answers())
    record, predictions = read_evaluation_log(tmp_path)
    assert (record.method, record.normalization) == ("generate", None)
    assert record.accuracy.value == 0.5
    assert [p.chosen for p in predictions] == [0, 1, None, 0]
    assert [p.outcome for p in predictions] == [
        Outcome.CORRECT, Outcome.CORRECT, Outcome.UNPARSED, Outcome.WRONG,
    ]  # fmt: skip
    assert predictions[2].text == "I say [invalid]."


def test_a_right_answer_that_the_metric_refuses_is_not_right(tmp_path: Path) -> None:
    samples = read_answers(("(A)", "B", "B", "B"))
    samples[0]["exact_match"] = 0.0
    write_log(tmp_path, samples)
    record, predictions = read_evaluation_log(tmp_path)
    assert record.counts.correct == 1
    assert (predictions[0].chosen, predictions[0].outcome) == (None, Outcome.UNPARSED)


def test_an_answer_of_odd_digits_is_no_option(tmp_path: Path) -> None:
    write_log(tmp_path, read_answers(("A", "②", "²", "1" * 5000)))
    _, predictions = read_evaluation_log(tmp_path)
    assert [p.chosen for p in predictions] == [0, None, None, None]


@pytest.mark.parametrize("seconds", [1e20, float("nan")])
def test_a_date_that_is_none_is_passed_over(tmp_path: Path, seconds: float) -> None:
    write_log(tmp_path, results=results_of(scored_samples(), date=seconds))
    record, _ = read_evaluation_log(tmp_path)
    assert record.origin is not None
    assert record.origin.created == DATE


def test_one_filter_of_several_is_read(tmp_path: Path) -> None:
    strict, loose = read_answers(), read_answers(("A", "B", "A", "C"), "flexible")
    results = results_of(strict)
    results["results"]["ward"] |= results_of(loose)["results"]["ward"]
    write_log(tmp_path, strict + loose, results)
    record, _ = read_evaluation_log(tmp_path)
    assert record.accuracy.value == 0.5
    assert record.origin is not None
    assert record.origin.filter == "first-letter"
    assert "flexible" in record.origin.notes[0]
    assert read_evaluation_log(tmp_path, filter_name="flexible")[0].accuracy.value == 1.0
    with pytest.raises(PredictionsError, match="no sample of the filter 'none'"):
        read_evaluation_log(tmp_path, filter_name="none")


def write_group(folder: Path) -> None:
    samples = scored_samples()
    results = results_of(samples, "exam_heart")
    other = results_of(samples, "exam_inner_ear")
    for key, value in other.items():
        if isinstance(value, dict) and key not in ("config", "group_subtasks"):
            results[key] |= value
    results["group_subtasks"] = {"exam": ["exam_heart", "exam_inner_ear"]}
    write_log(folder, samples, results, task="exam_heart")
    write_log(folder, samples, results, task="exam_inner_ear")


def test_a_group_is_one_evaluation_with_subjects(tmp_path: Path) -> None:
    write_group(tmp_path)
    assert list_evaluations(tmp_path) == ["exam"]
    record, predictions = read_evaluation_log(tmp_path)
    assert (record.data.source, record.counts.n) == ("lm-eval:exam", 8)
    assert [p.subject for p in predictions] == ["heart"] * 4 + ["inner ear"] * 4
    assert predictions[0].id == "exam_heart:q0"
    one, _ = read_evaluation_log(tmp_path, "exam_heart")
    assert one.counts.n == 4


def test_a_group_whose_tasks_are_not_weighted_is_said(tmp_path: Path) -> None:
    write_group(tmp_path)
    path = next(tmp_path.glob("results_*"))
    for logged, notes in ((0.5, 0), (0.4, 1)):
        results = json.loads(path.read_text())
        results["results"]["exam"] = {"acc,none": logged}
        path.write_text(json.dumps(results))
        record, _ = read_evaluation_log(tmp_path)
        assert record.origin is not None
        assert len(record.origin.notes) == notes


def test_columns_are_named(tmp_path: Path) -> None:
    samples = read_answers()
    for sample in samples:
        doc = sample["doc"]
        sample["doc"] = {"frage": doc["question"], "wahl": doc["choices"], "fach": "Herz"}
    write_log(tmp_path, samples)
    with pytest.raises(PredictionsError, match="without options"):
        read_evaluation_log(tmp_path)
    named = ColumnMapping(stem="frage", options=("wahl",), subject="fach")
    _, predictions = read_evaluation_log(tmp_path, columns=named)
    assert predictions[0].stem == "Question 0?"
    assert predictions[0].subject == "Herz"
    with pytest.raises(ColumnError, match="no column 'fragen'"):
        read_evaluation_log(tmp_path, columns=ColumnMapping(stem="fragen"))


def change(place: int, **fields: Any) -> list[dict[str, Any]]:
    samples = scored_samples()
    samples[place] |= fields
    return samples


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (change(3, acc=1.0), r"line 4: the log says acc 1, but by its log-likelihoods"),
        (change(3, acc=0.5), r"line 4: the log says acc 0.5, but by its log-likelihoods"),
        (change(3, acc=float("nan")), r"line 4: the log says acc nan, but by its log-likelihoods"),
        (change(1, target="²"), "line 2: the target is '²'"),
        (change(1, target="1" * 5000), "line 2: the target is '111"),
        (change(1, target="[0, 2]"), r"line 2: the target is '\[0, 2\]', several right answers"),
        (change(1, target="Z"), "line 2: the target is 'Z'"),
        (change(2, doc_id=1), "line 3 repeats doc_id 1 of line 2"),
        (change(1, filtered_resps=[["nan", ""]] * 3), "line 2 is no sample of the harness"),
        (change(1, filtered_resps=[["-1.0", ""]]), "line 2 is no sample of the harness"),
        (change(0, arguments={}), "line 1 is no sample of the harness"),
        ([{"stem": "no sample"}], "line 1 is no sample of the harness: KeyError 'arguments'"),
        (scored_samples((" A",) * 3), "several contexts"),
    ],
)
def test_faults_of_samples_are_named(
    tmp_path: Path, samples: list[dict[str, Any]], message: str
) -> None:
    write_log(tmp_path, samples, results={})
    path = next(tmp_path.glob("samples_*"))
    with pytest.raises(PredictionsError, match=message):
        read_evaluation_log(path)


def test_a_result_that_is_not_of_its_samples_is_refused(tmp_path: Path) -> None:
    samples = scored_samples()
    results = results_of(samples)
    results["results"]["ward"]["acc,none"] = 0.75
    write_log(tmp_path, samples, results)
    with pytest.raises(PredictionsError, match=r"results say acc 0\.75, its 4 samples 0\.5"):
        read_evaluation_log(tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("loglikelihood", "type loglikelihood, which has no options"),
        ("loglikelihood_rolling", "type loglikelihood_rolling"),
    ],
)
def test_other_types_of_task_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    samples = scored_samples()
    write_log(tmp_path, samples, results_of(samples, configs={"ward": {"output_type": kind}}))
    with pytest.raises(PredictionsError, match=message):
        read_evaluation_log(tmp_path)


def test_the_type_is_found_without_results(tmp_path: Path) -> None:
    one = {"gen_args_0": {"arg_0": "Why", "arg_1": " so"}}
    path = write_log(tmp_path, [s | {"arguments": one} for s in scored_samples()], results={})
    with pytest.raises(PredictionsError, match="type loglikelihood, which"):
        read_evaluation_log(path)


def test_answers_that_were_not_judged_are_refused(tmp_path: Path) -> None:
    samples = [s | {"metrics": []} for s in scored_samples()]
    write_log(tmp_path, samples)
    with pytest.raises(PredictionsError, match="--predict_only"):
        read_evaluation_log(tmp_path)


def test_a_log_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path / "line", text=lambda lines: lines[:-40])
    with pytest.raises(PredictionsError, match="cut off or damaged at line 4"):
        read_evaluation_log(tmp_path / "line")
    write_log(tmp_path / "count", text=lambda lines: lines[: lines.rindex("\n", 0, -1) + 1])
    with pytest.raises(PredictionsError, match="has 3 samples, its results count 4"):
        read_evaluation_log(tmp_path / "count")
    path = write_log(tmp_path / "packed", packed=True)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PredictionsError, match="cut off"):
        read_evaluation_log(path)
    write_log(tmp_path / "results")
    results = next((tmp_path / "results").glob("results_*"))
    results.write_text(results.read_text()[:-9])
    with pytest.raises(PredictionsError, match="cut off, or no JSON"):
        read_evaluation_log(tmp_path / "results")


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    path = write_log(tmp_path, text=lambda _: "")
    with pytest.raises(PredictionsError, match="is empty"):
        read_evaluation_log(path)
    path.write_text("\r\n\n")
    with pytest.raises(PredictionsError, match="is empty"):
        read_evaluation_log(path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(PredictionsError, match="holds no log"):
        read_evaluation_log(tmp_path / "nothing")
    with pytest.raises(PredictionsError, match="does not exist"):
        read_evaluation_log(tmp_path / "missing")


def test_another_version_is_refused(tmp_path: Path) -> None:
    samples = scored_samples()
    write_log(tmp_path, samples, results_of(samples, lm_eval_version="0.5.0"))
    with pytest.raises(PredictionsError, match=r"lm-evaluation-harness 0\.5\.0, whose logs"):
        read_evaluation_log(tmp_path)


def test_results_without_samples_are_refused(tmp_path: Path) -> None:
    write_log(tmp_path).unlink()
    with pytest.raises(PredictionsError, match="has results, but no samples"):
        read_evaluation_log(tmp_path)


def test_one_of_two_tasks_must_be_named(tmp_path: Path) -> None:
    samples = scored_samples()
    write_log(tmp_path, samples, task="first")
    write_log(tmp_path, samples, results_of(samples, "second"), task="second")
    with pytest.raises(PredictionsError, match="holds 2 tasks: first, second"):
        read_evaluation_log(tmp_path)
    with pytest.raises(PredictionsError, match="no samples of 'third'"):
        read_evaluation_log(tmp_path, "third")
    assert read_evaluation_log(tmp_path, "first")[0].data.source == "lm-eval:first"


def test_the_newest_of_two_runs_is_read(tmp_path: Path) -> None:
    write_log(tmp_path)
    old = scored_samples(targets=[2, 2, 1, 0])
    for sample in old:
        sample["acc"] = 0.0
    (tmp_path / "old").mkdir()
    for path in (write_log(tmp_path / "old", old), next((tmp_path / "old").glob("results_*"))):
        path.rename(tmp_path / path.name.replace("2026", "2025"))
    (tmp_path / "old").rmdir()
    record, _ = read_evaluation_log(tmp_path)
    assert record.accuracy.value == 0.5
    assert record.origin is not None
    assert "holds 2 runs" in record.origin.notes[0]


def test_the_folder_of_a_model_is_found_in_its_parent(tmp_path: Path) -> None:
    write_log(tmp_path / "org__model")
    assert read_evaluation_log(tmp_path)[0].counts.n == 4
    write_log(tmp_path / "org__other")
    with pytest.raises(PredictionsError, match="results of 2 models: org__model, org__other"):
        read_evaluation_log(tmp_path)


def test_more_than_ten_options_are_refused(tmp_path: Path) -> None:
    samples = scored_samples()
    for sample in samples:
        sample["arguments"] = {
            f"gen_args_{at}": {"arg_0": "Why?", "arg_1": f" option {at}"} for at in range(11)
        }
        sample["filtered_resps"] = [["-1.0", "False"]] * 11
    path = write_log(tmp_path, samples, results={})
    with pytest.raises(PredictionsError, match="line 1 has 11 options"):
        read_evaluation_log(path)


def test_letters_without_their_texts_are_said(tmp_path: Path) -> None:
    samples = scored_samples()
    for sample in samples:
        del sample["doc"]["choices"]
    write_log(tmp_path, samples)
    record, predictions = read_evaluation_log(tmp_path)
    assert predictions[0].options == tuple(choice.strip() for choice in CHOICES)
    assert record.origin is not None
    assert "only their letters" in record.origin.notes[0]
