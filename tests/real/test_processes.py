"""One experiment, trained by one process and by several."""

from __future__ import annotations

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

from medtune.core.records import TrainingRecord
from medtune.models.sources import ModelSource

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def config(folder: Path, source: ModelSource, **training: Any) -> Path:
    lines = {"epochs": 3, "batch_size": 8, "save_every": 4, "token_budget": 256, **training}
    path = folder / "config.toml"
    path.write_text(
        f'name = "shared"\n[model]\nsource = "{source.name}"\ndtype = "float32"\n'
        # 42 examples: the last step of an epoch has two, fewer than four processes.
        "[data]\ntrain_size = 42\n[training]\n"
        + "".join(f"{key} = {value}\n" for key, value in lines.items())
    )
    return path


def command(processes: int, path: Path, out: Path) -> list[str]:
    start = [sys.executable] if processes == 1 else [*LAUNCH, f"--nproc-per-node={processes}"]
    return [*start, "-m", "medtune", "train", str(path), "--out", str(out)]


def trained(processes: int, path: Path, out: Path) -> TrainingRecord:
    done = subprocess.run(
        command(processes, path, out), env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mask audit") == 1  # one process speaks
    return TrainingRecord.model_validate_json((out / "training.json").read_bytes())


def test_two_and_four_processes_take_the_steps_of_one(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    path = config(tmp_path, tiny_source)
    one = trained(1, path, tmp_path / "1")
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
        command(2, path, out), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
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
    whole = trained(2, config(tmp_path, tiny_source), tmp_path / "whole")
    # The newest checkpoint is of step 16 of 18: without the adapter the run goes on from there.
    (tmp_path / "whole" / "training.json").unlink()
    record = trained(1, config(tmp_path, tiny_source), tmp_path / "whole")
    assert record.resumed_from == 16
    assert [p.loss for p in record.losses] == pytest.approx(
        [p.loss for p in whole.losses], abs=1e-4
    )


def test_the_whole_job_is_refused_in_several_processes(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    path = config(tmp_path, tiny_source)
    job = [*LAUNCH, "--nproc-per-node=2", "-m", "medtune", "run", str(path)]
    done = subprocess.run(
        [*job, "--out", str(tmp_path / "out")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "launch `medtune train --out FOLDER`" in done.stderr
    assert not (tmp_path / "out").exists()
