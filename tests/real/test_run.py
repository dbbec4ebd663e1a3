from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.commands.run import run
from medtune.core.errors import FolderError
from medtune.core.experiment import Experiment, RetrievalConfig
from medtune.core.predictions_io import read_evaluation
from medtune.core.progress import NoProgress
from medtune.core.records import EvaluationRecord, RunRecord, TextLoss
from medtune.core.run_folder import lock_folder, write_record
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.data.load import read_manifest
from medtune.models.sources import ModelSource
from medtune.retrieval.index import read_index_manifest

SPLITS = ("starter-recall", "starter-transfer")
EXAMS = [f"{split}-{method}" for split in SPLITS for method in ("cloze", "letter", "generate")]
COMPARED = (
    "report.html",
    "comparison.json",
    "slices.json",
    "analysis-a.json",
    "analysis-b.json",
)


class Listener(NoProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def log_message(self, text: str) -> None:
        self.said.append(text)


def small(
    tiny_source: ModelSource, calibration: int = 0, whole: bool = False, **training: object
) -> Experiment:
    """Make an experiment of one exam, or of every split and method: each costs its figures."""
    exams = {} if whole else {"evaluate": ["starter:recall"]}
    return Experiment.model_validate(
        {
            "name": "small",
            "model": {"source": tiny_source.name, "dtype": "float32"},
            "data": {
                "train_size": 16,
                "evaluate_size": 8,
                "calibration_size": calibration,
                **exams,
            },
            "training": {"epochs": 1, "batch_size": 8, **training},
            "evaluation": {"max_new_tokens": 4, **({} if whole else {"methods": ["cloze"]})},
        }
    )


def test_the_whole_job_leaves_a_whole_folder(tiny_source: ModelSource, tmp_path: Path) -> None:
    record = run(small(tiny_source, calibration=12, whole=True), tmp_path, NoProgress())
    assert len(record.evaluations) == 12  # 2 splits x 3 methods x (base, tuned)
    assert len(record.comparisons) == 6
    expected = [
        "experiment.toml",
        "record.json",
        "report.html",
        "data/manifest.json",
        "data/datasheet.md",
        "data/excluded.jsonl",
        *(f"data/{split.file}" for split in read_manifest(tmp_path / "data").splits),
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "adapter/medtune.json",
        "index/manifest.json",
        *(f"eval/search-{name}/leaks.json" for name in (*SPLITS, "calibration")),
        "eval/base-starter-recall-cloze/predictions.jsonl",
        "eval/tuned-starter-transfer-generate/record.json",
        *(
            f"eval/{label}-calibration-{method}/record.json"
            for label in ("base", "tuned")
            for method in ("letter", "cloze")
        ),
        *(
            f"forgetting/{label}-{part}"
            for label in ("base", "tuned")
            for part in ("cloze/predictions.jsonl", "letter/record.json", "text.json")
        ),
        *(f"compare/{exam}/{name}" for exam in EXAMS for name in COMPARED),
    ]
    assert [name for name in expected if not (tmp_path / name).is_file()] == []
    assert RunRecord.model_validate_json((tmp_path / "record.json").read_bytes()) == record
    assert not list(tmp_path.rglob("*.part"))
    base, tuned = record.evaluations[0], record.evaluations[6]
    assert (base.label, tuned.label) == ("base", "tuned")
    assert base.model.adapter is None
    assert tuned.model.adapter == record.trainings[0].weights_hash
    calibrated_from_their_own_split(tmp_path)
    linked_from_the_report(tmp_path)
    compared_with_a_search(record, tmp_path)
    what_was_forgotten(record, tmp_path)


def what_was_forgotten(record: RunRecord, folder: Path) -> None:
    assert record.forgotten is not None
    (forgotten,) = record.forgotten
    assert [(c.method, c.a, c.b, c.n) for c in forgotten.answers] == [
        ("cloze", "base", "tuned", 120),
        ("letter", "base", "tuned", 120),
    ]
    assert forgotten.trained_on == 0
    assert forgotten.text_loss.n == 40
    # The paragraphs are known to the same model from its own loss.
    base, tuned = (
        TextLoss.model_validate_json((folder / f"forgetting/{label}-text.json").read_bytes())
        for label in ("base", "tuned")
    )
    assert (base.model.adapter, tuned.model.adapter) == (None, record.trainings[0].weights_hash)
    assert base.losses != tuned.losses
    # Random weights know nothing of 49,152 tokens, each of about four bytes.
    assert 2 < forgotten.text_loss.loss_a < 12
    assert "<h2>What was forgotten</h2>" in (folder / "report.html").read_text()


def compared_with_a_search(record: RunRecord, folder: Path) -> None:
    manifest = read_index_manifest(folder / "index")
    for split, evaluations in zip(
        SPLITS, (record.evaluations[:3], record.evaluations[3:6]), strict=True
    ):
        searched, predictions = read_evaluation(folder / "eval" / f"search-{split}")
        for evaluation in evaluations:
            assert evaluation.search is not None
            assert evaluation.search.index == manifest.hash
            assert evaluation.search.accuracy == searched.accuracy
        told = read_evaluation(folder / "eval" / f"tuned-{split}-letter")[1]
        assert [p.similarity for p in told] == [p.similarity for p in predictions]
    # Random weights beat no search, and the page says so below its verdict.
    page = (folder / "report.html").read_text()
    for comparison in record.comparisons:
        if comparison.method == "cloze":
            assert comparison.search_verdict in comparison.notes
            assert "beat a text search" in page.split("<figure")[0]


def test_an_open_book_run_reads_the_train_split_and_resumes(
    tiny_source: ModelSource, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    closed = small(tiny_source, calibration=12)
    methods = closed.evaluation.model_copy(update={"methods": ("letter",)})
    book = RetrievalConfig(kind="per-option", passages=1, words=20)
    experiment = closed.model_copy(update={"evaluation": methods, "retrieval": book})
    record = run(experiment, tmp_path, NoProgress())
    manifest = read_index_manifest(tmp_path / "index")
    for evaluation in record.evaluations:
        assert evaluation.open_book is not None
        assert evaluation.open_book.kind == "per-option"
        assert evaluation.open_book.index == manifest.hash
        assert evaluation.search is not None, "the search alone stands beside the reader"
    assert record.comparisons[0].differs == ()
    request.getfixturevalue("no_weights")
    assert run(experiment, tmp_path, NoProgress()) == record


def calibrated_from_their_own_split(folder: Path) -> None:
    assert not list(folder.glob("eval/*-calibration-generate"))
    reported = [folder / f"eval/base-{exam}/record.json" for exam in EXAMS]
    ids = {p.id for path in reported for p in read_evaluation(path.parent)[1]}
    for label, side in (("base", "a"), ("tuned", "b")):
        held, predictions = read_evaluation(folder / f"eval/{label}-calibration-letter")
        assert (held.label, held.counts.n, held.options_only) == (label, 12, None)
        assert not ids & {p.id for p in predictions}
        for exam in EXAMS:
            text = (folder / f"compare/{exam}/analysis-{side}.json").read_bytes()
            found = AnalysisRecord.model_validate_json(text)
            assert found.evaluation.label == label
            place = folder / "compare" / exam / found.folder
            assert place.resolve() == (folder / f"eval/{label}-{exam}").resolve()
            if exam.endswith("-generate"):
                assert found.selective is None
            else:
                assert found.selective is not None
                assert found.selective.calibrated_on == held.data.source
                assert found.selective.calibrated_n == 12
                assert found.selective.temperature is not None


def linked_from_the_report(folder: Path) -> None:
    links = re.findall(r'href="(compare/[^"]+)"', (folder / "report.html").read_text())
    assert links == [f"compare/{exam}/report.html" for exam in EXAMS]


def test_what_did_not_change_is_not_run_again(tiny_source: ModelSource, tmp_path: Path) -> None:
    first = run(small(tiny_source), tmp_path, NoProgress())
    kept = [
        *tmp_path.glob("eval/*/predictions.jsonl"),
        *tmp_path.glob("forgetting/*/predictions.jsonl"),
        *tmp_path.glob("forgetting/*.json"),
        tmp_path / "report.html",
    ]
    assert len(kept) == 3 + 4 + 2 + 1
    before = {p: p.stat().st_mtime_ns for p in kept}
    listener = Listener()
    assert run(small(tiny_source), tmp_path, listener) == first
    assert {p: p.stat().st_mtime_ns for p in before} == before
    valid = [text for text in listener.said if "still valid" in text]
    assert len(valid) == 6  # data, index, base, adapter, tuned, report

    # Another learning rate: the base keeps its results, the tuned model is examined again.
    listener = Listener()
    run(small(tiny_source, learning_rate=1e-4), tmp_path, listener)
    valid = [text for text in listener.said if "still valid" in text]
    assert any("base" in text for text in valid)
    assert not any("tuned" in text or "report" in text for text in valid)


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of weights is opened from here on."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights are opened")

    for name in (
        "medtune.models.local.local_model.load_network",
        "torch.load",
        "safetensors.safe_open",
        "safetensors.torch.load_file",
        "transformers.AutoModelForCausalLM.from_pretrained",
    ):
        monkeypatch.setattr(name, refuse)


@pytest.mark.parametrize(
    "training", [{"method": "lora"}, {"method": "full", "learning_rate": 1e-4}]
)
def test_a_finished_run_opens_no_weights(
    tiny_source: ModelSource,
    tmp_path: Path,
    training: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    experiment = small(tiny_source, calibration=12, **training)
    first = run(experiment, tmp_path, NoProgress())
    request.getfixturevalue("no_weights")
    assert run(experiment, tmp_path, NoProgress()) == first

    # A lost page and a record of another version are written again, from the results.
    (tmp_path / "compare" / EXAMS[0] / "report.html").unlink()
    again = run(experiment, tmp_path, NoProgress())
    assert (tmp_path / "compare" / EXAMS[0] / "report.html").is_file()
    assert again.comparisons == first.comparisons
    changed = again.provenance.model_copy(update={"medtune": "0.0.1"})
    write_record(tmp_path / "record.json", again.model_copy(update={"provenance": changed}))
    assert run(experiment, tmp_path, NoProgress()).provenance.medtune == first.provenance.medtune

    # Damaged answers are asked for again, and only they need the model.
    (tmp_path / f"eval/tuned-{EXAMS[0]}/predictions.jsonl").unlink()
    with pytest.raises(AssertionError, match="weights are opened"):
        run(experiment, tmp_path, NoProgress())


def test_an_evaluation_that_was_made_opens_no_weights(
    tiny_source: ModelSource,
    adapter: Path,
    medtune: CommandLine,
    request: pytest.FixtureRequest,
) -> None:
    command = ("evaluate", tiny_source.name, "starter:recall", "--limit", "8", "--dtype", "float32")
    first, tuned = medtune.record(*command), medtune.record(*command, "--adapter", adapter)
    assert tuned["model"]["adapter"] is not None
    request.getfixturevalue("no_weights")
    assert medtune.record(*command) == first
    assert medtune.record(*command, "--adapter", adapter) == tuned
    code, _, err = medtune(*command, "--method", "cloze")
    assert (code, "weights are opened" in err) == (70, True), err


def test_a_lost_adapter_is_trained_again(tiny_source: ModelSource, tmp_path: Path) -> None:
    first = run(small(tiny_source), tmp_path, NoProgress())
    (tmp_path / "adapter").rename(tmp_path / "elsewhere")
    again = run(small(tiny_source), tmp_path, NoProgress())
    assert again.trainings[0].weights_hash == first.trainings[0].weights_hash
    assert (tmp_path / "adapter" / "medtune.json").is_file()


def test_two_runs_in_one_folder_are_refused(tiny_source: ModelSource, tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(FolderError, match=f"in use.*{os.getpid()}"):
        run(small(tiny_source), tmp_path, NoProgress())


def test_ctrl_c_ends_with_130_and_the_next_run_goes_on(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "medtune", "run", "--out", str(out), "--json"]
    for setting in (
        f"model.source={tiny_source.name}",
        "model.dtype=float32",
        "data.train_size=32",
        "data.evaluate_size=4",
        'data.evaluate=["starter:recall"]',
        "training.epochs=20",
        "training.batch_size=4",
        "training.save_every=1000",
        'evaluation.methods=["cloze"]',
    ):
        command += ["--set", setting]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    heard = ""
    while "mask audit" not in heard:  # said just before the first step
        line = process.stderr.readline()
        assert line, heard
        heard += line
    time.sleep(0.5)  # a few of 160 steps
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "run the same command again" in stderr

    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    record = RunRecord.model_validate(json.loads(done.stdout))
    assert record.trainings[0].resumed_from is not None
    assert len(record.trainings[0].losses) == record.trainings[0].steps == 160


def test_a_read_only_folder_is_one_sentence_and_nothing_is_left(
    tiny_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permission bits do not stop root, so the disk's answer is given here.
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(FolderError, match="read-only"):
        run(small(tiny_source), tmp_path / "new", NoProgress())


def test_a_disk_that_fills_up_during_the_run_says_so_and_loses_nothing(
    tiny_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(tiny_source), tmp_path, NoProgress())
    good = tmp_path / "eval" / "base-starter-recall-cloze"
    before = (good / "predictions.jsonl").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match="disk is full"):
        run(small(tiny_source, learning_rate=1e-4), tmp_path, NoProgress())
    assert (good / "predictions.jsonl").read_bytes() == before
    assert EvaluationRecord.model_validate_json((good / "record.json").read_bytes())
    assert not list(tmp_path.rglob("*.part"))
