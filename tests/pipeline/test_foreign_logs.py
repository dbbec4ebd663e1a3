"""`medtune import`, and logs of other harnesses in `compare`, `analyze` and `study test-size`."""

from __future__ import annotations

import errno
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine
from tests.unit.foreign_logs.harness_log import TARGETS, read_answers, scored_samples, write_log

from medtune.analysis.compare import compare_evaluations
from medtune.analysis.serving_thresholds import fit_serving_calibration
from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import read_evaluation
from medtune.core.records import EvaluationRecord
from medtune.foreign_logs.read_log import read_evaluation_log

REAL_LOG = Path(__file__).parent / "harness_logs" / "lm-eval"


def test_every_task_becomes_a_folder(medtune: CommandLine) -> None:
    write_log(Path("log"), task="first")
    write_log(Path("log"), read_answers(), {}, task="second")
    results = next(Path("log").glob("results_*"))
    results.unlink()
    found = medtune.record("import", "log", "--out", "kept")
    assert found["folders"] == ["kept/first", "kept/second"]
    record, predictions = read_evaluation(Path("kept/second"))
    assert record == EvaluationRecord.model_validate(found["evaluations"][1])
    assert len(predictions) == 4
    code, out, _ = medtune("import", "log", "--task", "first", "--out", "kept/first")
    assert code == 0
    assert "lm-evaluation-harness" in " ".join(out.split())
    assert "there is no results file" in " ".join(out.split())


def test_a_folder_of_another_evaluation_is_kept(medtune: CommandLine) -> None:
    write_log(Path("log"))
    write_log(Path("other"), read_answers())
    medtune.record("import", "log", "--out", "kept")
    before = Path("kept/predictions.jsonl").read_bytes()
    code, _, err = medtune("import", "other", "--out", "kept")
    assert code == 2
    assert "kept contains the result of another evaluation" in err
    assert Path("kept/predictions.jsonl").read_bytes() == before


def test_a_disk_that_cannot_be_written_is_said(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(Path("log"))

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    code, _, err = medtune("import", "log", "--out", "kept")
    assert code == 2
    assert "cannot write kept" in err
    assert not list(Path().glob("kept/*.jsonl"))


def test_two_logs_are_compared_paired(medtune: CommandLine) -> None:
    write_log(Path("a"))
    better = scored_samples()
    # The third question is answered right as well.
    better[2] |= {"filtered_resps": [["-1.0", ""], ["-2.0", ""], ["-3.0", ""]], "acc": 1.0}
    write_log(Path("b"), better)
    found = medtune.record("compare", "a", "b", "--out", "c")
    assert (found["only_a"], found["only_b"], found["n"]) == (0, 1, 4)
    assert found["a"] != found["b"]
    assert found["differs"] == []
    page = Path("c/report.html").read_text()
    assert "lm-evaluation-harness 0.4.13" in page
    assert ">None<" not in page
    assert "None on" not in page
    (first, second) = sorted(Path("c/evaluations").iterdir())
    assert read_evaluation(first)[0].counts.n == read_evaluation(second)[0].counts.n == 4


def test_ids_and_orders_of_options_may_differ(medtune: CommandLine) -> None:
    write_log(Path("a"))
    turned = []
    for sample, right in zip(scored_samples(), TARGETS, strict=True):
        doc = {"id": f"other-{sample['doc_id']}", "question": sample["doc"]["question"].upper()}
        doc["choices"] = sample["doc"]["choices"][::-1]
        answers = sample["filtered_resps"][::-1]
        turned.append(sample | {"doc": doc, "filtered_resps": answers, "target": str(2 - right)})
    write_log(Path("b"), turned)
    found = medtune.record("compare", "a", "b", "--out", "c")
    assert (found["both"], found["neither"]) == (2, 2)
    assert "paired by their words" in found["notes"][-1]


def test_other_questions_are_refused_with_the_difference(medtune: CommandLine) -> None:
    write_log(Path("a"))
    other = scored_samples()[:3]
    other[0]["doc"] |= {"question": "Another one?", "id": "q9"}
    write_log(Path("b"), other)
    code, _, err = medtune("compare", "a", "b")
    assert code == 2
    assert "2 are the same" in err
    assert "only in model (a): 2, such as q0 ('Question 0?'), q3 ('Question 3?')" in err
    assert "only in model (b): 1, such as q9 ('Another one?')" in err


def test_one_question_twice_is_not_paired_by_content(medtune: CommandLine) -> None:
    write_log(Path("a"))
    twice = scored_samples()
    twice[1]["doc"] = twice[0]["doc"] | {"id": "q7"}
    twice[1]["target"], twice[1]["acc"] = "0", 0.0
    write_log(Path("b"), twice)
    code, _, err = medtune("compare", "a", "b")
    assert code == 2
    assert "3 are the same" in err
    assert "only in model (b): 1, such as q7 ('Question 0?')" in err


def test_a_log_is_analysed_and_subsampled(medtune: CommandLine) -> None:
    write_log(Path("log"))
    found = medtune.record("analyze", "log")
    assert found["evaluation"]["origin"]["task"] == "ward"
    page = Path(found["written"]["report"])
    assert "–" in page.read_text()
    assert ">None<" not in page.read_text()
    assert (page.parent / "predictions.jsonl").exists()
    assert not list(Path("log").glob("*.html"))
    code, _, err = medtune("study", "test-size", "log", "--sizes", "2")
    # Too small for the study, but read.
    assert code in (0, 2)
    assert "holds no evaluation" not in err


def test_the_gate_and_a_mixture_refuse_imported_evaluations(medtune: CommandLine) -> None:
    write_log(Path("log"))
    medtune.record("import", "log", "--out", "kept")
    code, _, err = medtune("mix", "--calibration", "kept", "--calibration", "kept")
    assert code == 2
    assert "was imported from lm-evaluation-harness 0.4.13" in err


def test_a_serving_calibration_and_a_release_refuse_imported_evaluations(tmp_path: Path) -> None:
    write_log(tmp_path)
    imported = read_evaluation_log(tmp_path)
    with pytest.raises(PredictionsError, match="its weights and its prompt are not proven"):
        fit_serving_calibration(*imported, 0.1, 0.9)
    with pytest.raises(PredictionsError, match="its weights and its prompt are not proven"):
        compare_evaluations(imported, imported, releases=True)


def test_ten_thousand_samples_take_seconds_of_a_core(tmp_path: Path) -> None:
    samples = [
        sample | {"doc_id": f"{number}-{sample['doc_id']}", "doc": sample["doc"] | {"id": None}}
        for number in range(2500)
        for sample in scored_samples()
    ]
    write_log(tmp_path, samples)
    start = time.process_time()
    record, _ = read_evaluation_log(tmp_path)
    assert time.process_time() - start < 10  # one and a half where nothing else runs
    assert record.counts.n == 10_000


METHODS = ("letter", "cloze", "generate")


@pytest.mark.parametrize("method", METHODS)
def test_an_evaluation_is_logged_and_read_back(medtune: CommandLine, method: str) -> None:
    asked = ("evaluate", "fake:noisy", "starter:recall", "--method", method, "--limit", "12")
    medtune.record(*asked, "--log", "lm-eval", "--out", "e")
    record, predictions = read_evaluation(Path("e"))
    (samples,) = Path("e").glob("samples_*")
    found, same = read_evaluation_log(samples)
    fields = {"id", "stem", "options", "answer", "chosen", "outcome", "logprobs", "subject",
              "topic", "group", "probabilities", "mass", "bytes", "text"}  # fmt: skip
    assert [p.model_dump(include=fields) for p in same] == [
        p.model_dump(include=fields) for p in predictions
    ]
    assert (found.accuracy, found.method) == (record.accuracy, record.method)
    assert found.origin is not None
    assert "written by medtune" in found.origin.notes[0]
    # An evaluation that is there already is logged as well.
    before = samples.read_bytes()
    samples.unlink()
    medtune.record(*asked, "--log", "lm-eval", "--out", "e")
    assert samples.read_bytes() == before


def test_the_harness_reads_the_log(medtune: CommandLine) -> None:
    """Its own file names, and the fields that its loggers and scripts index."""
    utils = pytest.importorskip("lm_eval.utils")
    medtune.record(
        "evaluate", "fake:noisy", "starter:recall", "--limit", "5", "--log", "lm-eval", "--out", "e"
    )
    names = [path.as_posix() for path in Path("e").iterdir()]
    (results_file,) = utils.get_results_filenames(names)
    (samples_file,) = utils.get_sample_results_filenames(names)
    task = utils.get_file_task_name(Path(samples_file).name)
    dates = {utils.get_file_datetime(Path(n).name).removesuffix(".json") for n in (
        results_file, samples_file)}  # fmt: skip
    assert len(dates) == 1
    results = json.loads(Path(results_file).read_text())
    config = results["configs"][task]
    samples = [json.loads(line) for line in Path(samples_file).read_text().splitlines()]
    for metric in config["metric_list"]:
        values = [sample[metric["metric"]] for sample in samples]
        logged = results["results"][task][f"{metric['metric']},none"]
        assert logged == sum(values) / len(values)
    for sample in samples:
        assert sample["doc_hash"] == utils.hash_string(
            json.dumps(sample["doc"], indent=2, ensure_ascii=False)
        )
        assert sample["doc"]["question"] in sample["arguments"]["gen_args_0"]["arg_0"]
        shown = [request["arg_1"].strip() for request in sample["arguments"].values()]
        assert shown == list("ABCD")
        assert all(float(answer[0]) < 0 for answer in sample["filtered_resps"])
    assert task in utils.make_table(results)


def test_logs_that_the_harness_cannot_express_are_refused(medtune: CommandLine) -> None:
    asked = ("evaluate", "fake:noisy", "starter:recall", "--log", "lm-eval")
    code, _, err = medtune(*asked, "--orders", "cyclic")
    assert code == 2
    assert "--log lm-eval with --orders cyclic" in err
    code, _, err = medtune(*asked, "--method", "cloze", "--normalization", "token")
    assert code == 2
    assert "for which the harness has no metric" in err


def test_a_file_that_is_no_log_is_refused(medtune: CommandLine) -> None:
    Path("notes.txt").write_text("no log")
    with pytest.raises(PredictionsError, match="is no log"):
        read_evaluation_log("notes.txt")
    code, _, err = medtune("import", "notes.txt")
    assert code == 2
    assert "a results folder or samples file" in err


@pytest.mark.parametrize("task", ["ward", "ward_letter", "ward_cloze", "ward_free"])
def test_real_logs_have_the_accuracy_of_the_harness_to_the_last_digit(task: str) -> None:
    """The logs are of version 0.4.13 with its random model (benchmarks/harness_logs.py)."""
    (results,) = REAL_LOG.glob("results_*.json")
    figures = json.loads(results.read_text())["results"][task]
    logged = [v for k, v in figures.items() if k.startswith(("acc,", "exact_match,"))]
    record, predictions = read_evaluation_log(REAL_LOG, task)
    assert [record.accuracy.value] == logged
    assert len(predictions) == 8
    assert predictions[0].stem.startswith("A septic patient")
    assert predictions[0].options == ("Ketamine", "Midazolam", "Thiopental", "Etomidate")
