"""How fast data is cleaned, deduplicated and written, and how the cost grows.

    python benchmarks/prepare_speed.py --data medmcqa_train.parquet --evaluate FILE

Every size is prepared in a process of its own, so that its peak memory is its own.  Prints one
JSON line.  Without --data, questions are made up from the starter's words: the cost of real data
differs, the growth does not.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from medtune.core.provenance import collect_provenance
from medtune.data.load import load_split
from medtune.data.sources.files import RawRow, read_file

SIZES = (10_000, 20_000, 40_000, 75_000)
ONE = """
import json, sys, time
from pathlib import Path
from medtune.core.experiment import DataConfig
from medtune.core.progress import NoProgress
from medtune.core.provenance import peak_memory
from medtune.data.snapshot import prepare_snapshot
start = time.perf_counter()
config = DataConfig(train=sys.argv[1], evaluate=(sys.argv[2],))
manifest = prepare_snapshot(config, 17, Path(sys.argv[3]), NoProgress()).manifest
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "peak_memory_bytes": peak_memory(),
    "rows": manifest.sources[0].rows,
    "kept": manifest.train_split.description.n,
    "hash": manifest.hash,
}))
"""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    rows = _rows(arguments.data, max(arguments.sizes))
    with tempfile.TemporaryDirectory() as folder:
        train, evaluated = Path(folder) / "train.parquet", Path(folder) / "evaluated.parquet"
        if arguments.evaluate:
            evaluated = arguments.evaluate.resolve()
        else:
            _write(_made_up(2_000, seed=1), evaluated)
        runs = []
        for number, size in enumerate(arguments.sizes):
            _write(rows[:size], train)
            runs.append(prepared(train, evaluated, Path(folder) / f"snapshot-{number}"))
    result = {
        "benchmark": "prepare_speed",
        "seconds": {run["rows"]: round(run["seconds"], 1) for run in runs},
        "rows_per_s": {run["rows"]: round(run["rows"] / run["seconds"]) for run in runs},
        "peak_memory_gib": {
            run["rows"]: round(run["peak_memory_bytes"] / 2**30, 2) for run in runs
        },
        # 1 is n log n; below 1 the fixed cost of starting shows.
        "growth_beyond_n_log_n": round(_growth(runs), 3),
        "kept": {run["rows"]: run["kept"] for run in runs},
        "data": arguments.data.name if arguments.data else "made up from the starter's words",
        "evaluate": arguments.evaluate.name if arguments.evaluate else "made up likewise",
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")


def prepared(train: Path, evaluated: Path, folder: Path) -> dict[str, Any]:
    """Prepare one snapshot in a process of its own."""
    command = [sys.executable, "-c", ONE, f"file:{train}", f"file:{evaluated}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _growth(runs: list[dict[str, Any]]) -> float:
    """Compare the largest with the smallest: cost per n log n, as a ratio."""
    first, last = (
        run["seconds"] / (run["rows"] * math.log(run["rows"])) for run in (runs[0], runs[-1])
    )
    return float(last / first)


def _rows(data: Path | None, most: int) -> list[RawRow]:
    if data is None:
        return _made_up(most, seed=0)
    return [row for _, row in islice(read_file(data), most)]


def _made_up(count: int, seed: int) -> list[RawRow]:
    """Make questions of the usual lengths out of the starter's words; one in ten is repeated."""
    rng = random.Random(seed)
    questions = load_split("starter:train").questions
    words = sorted({word for q in questions for word in q.stem.split()})
    options = sorted({option for q in questions for option in q.options})
    rows: list[RawRow] = []
    for number in range(count):
        if rows and rng.random() < 0.1:
            rows.append(rng.choice(rows) | {"id": f"q{seed}-{number}"})
            continue
        names = ("opa", "opb", "opc", "opd")
        rows.append(
            {
                "id": f"q{seed}-{number}",
                "question": " ".join(rng.sample(words, rng.randint(6, 24))) + "?",
                **dict(zip(names, rng.sample(options, 4), strict=True)),
                "cop": rng.randrange(4),
            }
        )
    return rows


def _write(rows: list[RawRow], path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="train file in MedMCQA's columns")
    parser.add_argument("--evaluate", type=Path, help="file to keep apart from it")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="rows of the train file"
    )
    parser.add_argument("--json-out", type=Path, help="also write the line to a file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
