"""What the choice among the options costs beside the right answer alone; one JSON line.

    python benchmarks/choice_cost.py [--data file:medmcqa_train.parquet] [--json-out FILE]

Both objectives train the same questions, one process after the other, in rounds of which each
objective takes its better one, by LoRA and by full fine-tuning.  Cost is seconds per question over
those of the answer objective.  Memory is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from medtune.core.provenance import collect_provenance

METHODS = {"lora": 2e-3, "full": 5e-5}
"""Learning rates; they change no speed."""
OBJECTIVES = ("answer", "choice")


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    rows: list[dict[str, Any]] = []
    for method, rate in METHODS.items():
        best: dict[str, dict[str, Any]] = {}
        for _ in range(arguments.rounds):
            for objective in OBJECTIVES:
                found = trained(arguments, method, objective, rate)
                known = best.setdefault(objective, found)
                if found["examples_per_s"] > known["examples_per_s"]:
                    best[objective] = found
        for objective, record in best.items():
            answers = best["answer"]["examples_per_s"]
            rows.append(
                {
                    "method": method,
                    "objective": objective,
                    "questions_per_s": round(record["examples_per_s"], 2),
                    "cost": round(answers / record["examples_per_s"], 2),
                    "peak_memory_gib": round(record["peak_memory_bytes"] / 2**30, 2),
                }
            )
            print(rows[-1], file=sys.stderr)
    result = {
        "benchmark": "choice_cost",
        "rows": rows,
        "questions": arguments.questions,
        "data": arguments.data,
        "model": arguments.model,
        "settings": arguments.set,
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def trained(
    arguments: argparse.Namespace, method: str, objective: str, rate: float
) -> dict[str, Any]:
    """Train one epoch in a process of its own; return the training record."""
    settings = {
        "model.source": arguments.model,
        "data.train": arguments.data,
        "data.train_size": arguments.questions,
        "training.epochs": 1,
        "training.save_every": 10_000,
        "training.method": method,
        "training.objective": objective,
        "training.learning_rate": rate,
    }
    chosen = [f"{key}={value}" for key, value in settings.items()] + arguments.set
    options = [part for setting in chosen for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "medtune", "train", "--out", str(out), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        found: dict[str, Any] = json.loads((out / "training.json").read_text())
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--questions", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="a setting, KEY=VALUE")
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
