"""How training scales over processes on this machine, measured and modelled; one JSON line.

    python benchmarks/scaling.py [--data file:medmcqa_train.parquet] [--processes 1 2]

Every process has one thread, and the global batch is the same: strong scaling, the harder kind.
Efficiency is examples per second over those of one process times their number.  The model beside
it needs two measurements: the time of a step in one process, and of one exchange of gradients of
the adapter's size,

    step(n) = step(1) / n + exchange(n),

which leaves out that shares of a step differ in length and that cores share their memory: what is
measured below what is modelled is due to those.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from medtune.core.provenance import collect_provenance

EXCHANGES = 20


def main() -> None:
    """Measure and print; under torchrun, be one of the processes that exchange."""
    arguments = _arguments()
    if arguments.exchange:
        exchange(arguments.exchange)
        return
    rows: list[dict[str, Any]] = []
    alone = 0.0
    for count in arguments.processes:
        with tempfile.TemporaryDirectory() as folder:
            record = trained(arguments, count, Path(folder))
        shared = exchange_time(count, record["trainable_parameters"]) if count > 1 else 0.0
        step = record["duration_s"] / record["steps"]
        alone = alone or step
        rows.append(
            {
                "processes": count,
                "examples_per_s": round(record["examples_per_s"], 3),
                "step_s": round(step, 3),
                "exchange_s": round(shared, 4),
                "efficiency": round(alone / (count * step), 3),
                "modelled_efficiency": round(alone / (alone + count * shared), 3),
            }
        )
        print(rows[-1], file=sys.stderr)
    result = {
        "benchmark": "scaling",
        "rows": rows,
        "examples": arguments.examples,
        "data": arguments.data,
        "threads_per_process": 1,
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def trained(arguments: argparse.Namespace, count: int, folder: Path) -> dict[str, Any]:
    """Train one epoch in so many processes; return the training record."""
    settings = {
        "data.train": arguments.data,
        "data.train_size": arguments.examples,
        "training.epochs": 1,
        "training.save_every": 10_000,
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = ["-m", "medtune", "train", "--out", str(folder / "run"), *options]
    launched(command, count)
    found: dict[str, Any] = json.loads((folder / "run" / "training.json").read_text())
    return found


def exchange_time(count: int, numbers: int) -> float:
    """Return the seconds of one exchange of so many bf16 gradients among processes."""
    out = launched([str(Path(__file__).resolve()), "--exchange", str(numbers)], count)
    return float(out.splitlines()[-1])


def exchange(numbers: int) -> None:
    """Time the exchange; the first process prints the mean."""
    dist.init_process_group("gloo")
    gradients = torch.ones(numbers, dtype=torch.bfloat16)
    dist.all_reduce(gradients)
    start = time.perf_counter()
    for _ in range(EXCHANGES):
        dist.all_reduce(gradients)
    if dist.get_rank() == 0:
        print((time.perf_counter() - start) / EXCHANGES)
    dist.destroy_process_group()


def launched(command: list[str], count: int) -> str:
    """Run a command under torchrun, one thread a process; return what it printed."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", str(count), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="the first one is 1"
    )
    parser.add_argument("--json-out", type=Path)
    parser.add_argument("--exchange", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.processes[0] != 1:
        parser.error("--processes begins with 1: efficiency is relative to one process")
    return arguments


if __name__ == "__main__":
    main()
