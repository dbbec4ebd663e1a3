"""One experiment, trained by one process and by several."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from medtune.commands.run import run
from medtune.commands.train import finetune
from medtune.core.config import load_experiment
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import read_predictions
from medtune.core.progress import NoProgress
from medtune.core.records import RunRecord, TrainingRecord
from medtune.models.sources import ModelSource

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def config(folder: Path, source: ModelSource, data: str = "", **training: Any) -> Path:
    lines = {"epochs": 3, "batch_size": 8, "save_every": 4, "token_budget": 256, **training}
    path = folder / "config.toml"
    path.write_text(
        f'name = "shared"\n[model]\nsource = "{source.name}"\ndtype = "float32"\n'
        # 42 examples: the last step of an epoch has two, fewer than four processes.
        f'[data]\ntrain_size = 42\n{data}\n[evaluation]\nmethods = ["cloze", "generate"]\n'
        "options_only = 30\nmax_new_tokens = 8\n[training]\n"
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    )
    return path


def command(processes: int, verb: str, path: Path, out: Path) -> list[str]:
    start = [sys.executable] if processes == 1 else [*LAUNCH, f"--nproc-per-node={processes}"]
    return [*start, "-m", "medtune", verb, str(path), "--out", str(out)]


def done(processes: int, verb: str, path: Path, out: Path, **more: str) -> str:
    """Run it to success; return what it said."""
    ended = subprocess.run(
        command(processes, verb, path, out),
        env={**ENVIRONMENT, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def alone(path: Path, out: Path) -> TrainingRecord:
    """Train in this process."""
    (record,) = finetune(experiment=experiment_in(path), out=out, progress=NoProgress()).records
    return record


def experiment_in(path: Path) -> Experiment:
    found = load_experiment(path, ())
    assert isinstance(found, Experiment)
    return found


def trained(processes: int, path: Path, out: Path, **more: str) -> TrainingRecord:
    said = done(processes, "train", path, out, **more)
    assert said.count("mask audit") == 1  # one process speaks
    return TrainingRecord.model_validate_json((out / "training.json").read_bytes())


def losses(record: TrainingRecord) -> list[float]:
    return [point.loss for point in record.losses]


def close(a: Path, b: Path) -> bool:
    """Tell whether two files hold the same weights, but for rounding."""
    ours, theirs = load_file(a), load_file(b)
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name], weight, atol=1e-3) for name, weight in theirs.items()
    )


def test_two_and_four_processes_take_the_steps_of_one(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    path = config(tmp_path, tiny_source, objective="choice", answer_share=0.2)
    one = alone(path, tmp_path / "1")
    adapter = load_file(tmp_path / "1" / "adapter" / "adapter_model.safetensors")
    for processes in (2, 4):
        record = trained(processes, path, tmp_path / str(processes))
        assert (one.processes, record.processes) == (1, processes)
        assert record.steps == one.steps == 18
        assert [p.loss for p in record.losses] == pytest.approx(
            [p.loss for p in one.losses], abs=1e-4
        )
        assert (record.tokens, record.examples) == (one.tokens, one.examples)
        other = load_file(tmp_path / str(processes) / "adapter" / "adapter_model.safetensors")
        for name, weight in adapter.items():
            assert torch.allclose(other[name], weight, atol=1e-3), name


def running(tmp_path: Path, source: ModelSource) -> tuple[subprocess.Popen[str], Path]:
    """Start a long run of two processes, and wait until it trains."""
    out = tmp_path / "out"
    path = config(tmp_path, source, epochs=500)
    process = subprocess.Popen(
        command(2, "train", path, out), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    while not list((out / "checkpoints").glob("step-*.pt")):
        assert process.poll() is None, "the run ended before it trained"
        time.sleep(0.05)
    return process, out


def test_a_dead_worker_ends_the_run_with_an_error(tiny_source: ModelSource, tmp_path: Path) -> None:
    process, out = running(tmp_path, tiny_source)
    workers = psutil.Process(process.pid).children()
    workers[-1].send_signal(signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "SIGKILL" in error or "exitcode: -9" in error
    assert not (out / "adapter").exists()
    assert not any(worker.is_running() for worker in workers)


def test_a_run_in_several_processes_can_be_resumed_by_one(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    path = config(tmp_path, tiny_source)
    whole = trained(2, path, tmp_path / "whole")
    # The newest checkpoint is of step 16 of 18: without the adapter the run goes on from there.
    (tmp_path / "whole" / "training.json").unlink()
    record = alone(path, tmp_path / "whole")
    assert record.resumed_from == 16
    assert [p.loss for p in record.losses] == pytest.approx(
        [p.loss for p in whole.losses], abs=1e-4
    )


def test_the_whole_job_in_two_processes_gives_the_answers_of_one(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    path = config(tmp_path, tiny_source, "validation_size = 20", validate_every=9)
    one = run(experiment_in(path), tmp_path / "1", NoProgress())
    said = done(2, "run", path, tmp_path / "2")
    assert said.count("mask audit") == 1
    two = RunRecord.model_validate_json((tmp_path / "2" / "record.json").read_bytes())
    assert (tmp_path / "2" / "report.html").is_file()
    assert (one.trainings[0].processes, two.trainings[0].processes) == (1, 2)
    assert two.trainings[0].validations == one.trainings[0].validations
    for a, b in zip(one.evaluations, two.evaluations, strict=True):
        assert (a.label, a.method, a.counts) == (b.label, b.method, b.counts)
        assert a.options_only == b.options_only
    assert [c.difference for c in two.comparisons] == [c.difference for c in one.comparisons]
    name = "eval/tuned-starter-transfer-cloze/predictions.jsonl"
    ours, theirs = read_predictions(tmp_path / "2" / name), read_predictions(tmp_path / "1" / name)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.id, mine.chosen, mine.outcome) == (other.id, other.chosen, other.outcome)
        assert mine.logprobs == pytest.approx(other.logprobs, abs=1e-2)
    # What two processes left is valid for one.
    again = run(experiment_in(path), tmp_path / "2", NoProgress())
    assert again.trainings[0].processes == 2


def test_an_error_in_the_first_process_ends_all(tiny_source: ModelSource, tmp_path: Path) -> None:
    path = config(tmp_path, tiny_source)
    (tmp_path / "out" / "eval").mkdir(parents=True)
    (tmp_path / "out" / "eval" / "base-starter-recall-cloze").touch()  # a file where a folder goes
    ended = subprocess.run(
        command(2, "run", path, tmp_path / "out"),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode != 0
    assert "base-starter-recall-cloze" in ended.stderr


SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.mark.parametrize(
    ("method", "objective", "processes"), [("lora", "answer", 2), ("full", "choice", 3)]
)
def test_a_model_in_shards_takes_the_steps_of_a_whole_one(
    tiny_source: ModelSource, tmp_path: Path, method: str, objective: str, processes: int
) -> None:
    more = {"method": method, "objective": objective, "learning_rate": 2e-3}
    more |= {"average": 0.9, "keep": "best", "patience": 9}
    path = config(tmp_path, tiny_source, "validation_size = 20", validate_every=5, **more)
    one = alone(path, tmp_path / "1")
    weights = {"lora": "adapter/adapter_model", "full": "model/model"}[method] + ".safetensors"
    out = tmp_path / "shards"
    record = trained(processes, path, out, **SHARDED)
    assert losses(record) == pytest.approx(losses(one), abs=1e-4)
    assert [p.accuracy for p in record.validations] == [p.accuracy for p in one.validations]
    assert record.trainable_parameters == one.trainable_parameters
    assert record.total_parameters == one.total_parameters
    assert close(out / weights, tmp_path / "1" / weights)
    # A checkpoint of shards is whole: other shards go on from it, and so does one process.
    (out / "training.json").unlink()
    again = trained(2, path, out, **SHARDED) if method == "full" else alone(path, out)
    assert again.resumed_from == 16
    assert losses(again) == pytest.approx(losses(one), abs=1e-4)
    assert close(out / weights, tmp_path / "1" / weights)


def test_shards_of_the_first_version_are_refused(tiny_source: ModelSource, tmp_path: Path) -> None:
    ended = subprocess.run(
        command(2, "train", config(tmp_path, tiny_source), tmp_path / "out"),
        env={**ENVIRONMENT, **SHARDED, "FSDP_VERSION": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode != 0
    assert "FSDP of version 1" in ended.stderr
