"""Two controls of the instrument: random labels teach nothing, the asked questions are learned.

    python benchmarks/controls.py --data file:train.parquet --evaluate file:validation.parquet \
        [--method lora] [--size 2000] [--questions 1000] [--json-out results/controls.json]

One training is on questions whose right answer was replaced by a random option, drawn by the seed
and the question's id.  It has to stay inside the interval of guessing: the shares of right answers
that guessing gives in 95 of 100 cases.  Where the untrained model is outside of it already, because
it knows something, the training must not be detectably better than that.  The evaluated questions
must not ask the same facts in other words, of which wrong answers would be taught.

The other training is on the evaluated questions themselves, with their answers, and has to rise:
the lower end of its paired gain over the untrained model is above `CLEAR_GAIN`.

Both train by the objective `choice`; --set changes anything else, as for `medtune run`.  What was
done stays in --out, and the same command goes on from there.  It exits with 1 if a control fails.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scipy.stats import binom

from medtune.analysis.compare import compare_evaluations
from medtune.cli.options import load_finetune_experiment
from medtune.cli.output import Terminal
from medtune.core.errors import MedtuneError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import ComparisonRecord, Question
from medtune.core.run_folder import lock_folder
from medtune.data.arrow_table import QuestionTable
from medtune.data.load import describe_split
from medtune.data.snapshot import Snapshot, SnapshotSplit, prepare_snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.unloaded_model import UnloadedModel
from medtune.workflows.finetune import (
    base_model,
    finetune_cached,
    resolve_trainable,
    tuned_model,
)

CLEAR_GAIN = 0.05
"""Least lower end of the gain by training on the evaluated questions."""


def main() -> None:
    """Run both controls, or what is left of them, and write the record."""
    arguments = _arguments()
    try:
        result = run_controls(make_experiment(arguments), arguments.out)
    except MedtuneError as error:
        sys.exit(str(error))
    print(json.dumps(result))
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(result, indent=2) + "\n")
    if failed := [name for name in ("shuffled", "evaluated") if not result[name]["holds"]]:
        sys.exit(f"failed: {', '.join(failed)}")


def make_experiment(arguments: argparse.Namespace) -> Experiment:
    """Make the experiment of both trainings."""
    settings = {
        "name": "controls",
        "model.source": arguments.model,
        "data.train": arguments.data,
        "data.evaluate": json.dumps([arguments.evaluate]),
        "data.train_size": arguments.size,
        "training.objective": "choice",
        "training.method": arguments.method,
    }
    if arguments.questions:
        settings["data.evaluate_size"] = arguments.questions
    overrides = [f"{key}={value}" for key, value in settings.items()]
    return load_finetune_experiment(None, [*overrides, *arguments.set])


def run_controls(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Run both controls in a folder; what it holds is not done again.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    progress = Terminal()
    source = resolve_trainable(experiment, progress)
    with lock_folder(folder):
        snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        evaluated = snapshot.evaluated[0]
        settings = experiment.evaluation.model_copy(update={"options_only": 0, "shots": 0})
        exam = Exam.from_experiment(
            experiment.model_copy(update={"evaluation": settings}),
            settings.methods[0],
            evaluated.questions,
            evaluated.description,
            (),
        )

        def evaluate(model: UnloadedModel, label: str) -> Evaluation:
            place = folder / label / "eval"
            return evaluate_or_reuse(model.load(), exam, label, STRICT_PARSER, place, progress)

        base = evaluate(base_model(experiment, source), "untrained")
        splits = {
            "shuffled": _with_questions(
                snapshot.train, shuffle_labels(snapshot.train.questions, experiment.seed)
            ),
            "evaluated": replace(evaluated, role="train"),
        }
        controls = {}
        for name, train in splits.items():
            taught = replace(snapshot, train=train, validation=None)
            controls[name] = _train(experiment, taught, folder / name)
            compared = compare_evaluations(
                base, evaluate(tuned_model(experiment, source, folder / name), name)
            )
            controls[name] |= describe_comparison(compared)
    record = base[0]
    low, high = guessing_interval(record.chance, record.counts.n)
    controls["shuffled"]["holds"] = stays_at_chance(controls["shuffled"], low, high)
    controls["evaluated"]["holds"] = controls["evaluated"]["difference_low"] > CLEAR_GAIN
    provenance = collect_provenance(record.provenance.gpu)
    return {
        "benchmark": "controls",
        "model": portable(experiment.model.source),
        "dtype": record.model.dtype,
        "data": portable(experiment.data.train),
        "evaluated_data": portable(experiment.data.evaluate[0]),
        "n": record.counts.n,
        "scored_by": record.method,
        "training": experiment.training.model_dump(mode="json"),
        "seed": experiment.seed,
        "chance": record.chance,
        "guessing": [low, high],
        "clear_gain": CLEAR_GAIN,
        "untrained": record.accuracy.model_dump(mode="json"),
        **controls,
        "provenance": provenance.model_copy(
            update={"command": shlex.join([Path(sys.argv[0]).name, *map(portable, sys.argv[1:])])}
        ).model_dump(mode="json"),
    }


def shuffle_labels(questions: Sequence[Question], seed: int) -> list[Question]:
    """Replace every right answer by a random option, and leave out the explanation of it."""
    shuffled = []
    for question in questions:
        answer = random.Random(f"{seed} {question.id}").randrange(len(question.options))
        shuffled.append(question.model_copy(update={"answer": answer, "explanation": None}))
    return shuffled


def guessing_interval(chance: float, n: int) -> tuple[float, float]:
    """Return the accuracies between which guessing lies in 95 of 100 cases."""
    low, high = (float(binom.ppf(share, n, chance)) / n for share in (0.025, 0.975))
    return low, high


def stays_at_chance(control: dict[str, Any], low: float, high: float) -> bool:
    """Return whether a model that was trained on random labels knows nothing new.

    Args:
        control: Its comparison with the untrained model.
        low: Lower end of guessing.
        high: Upper end of guessing.
    """
    if low <= control["untrained"] <= high:
        return bool(low <= control["accuracy"]["value"] <= high)
    return bool(control["difference_low"] <= 0)


def describe_comparison(compared: ComparisonRecord) -> dict[str, Any]:
    """Describe the accuracy of a trained model and its paired gain over the untrained one."""
    return {
        "untrained": compared.accuracy_a.value,
        "accuracy": compared.accuracy_b.model_dump(mode="json"),
        "difference": compared.difference,
        "difference_low": compared.difference_low,
        "difference_high": compared.difference_high,
        "p_value": compared.p_value,
    }


def portable(argument: str) -> str:
    """Return an argument that names no folder of this machine, a file by its name."""
    for kind in ("file:", "path:", "snapshot:"):
        before, found, place = argument.rpartition(kind)
        if found:
            return f"{before}{kind}{Path(place).name}"
    return Path(argument).name if Path(argument).is_absolute() else argument


def _with_questions(split: SnapshotSplit, questions: Sequence[Question]) -> SnapshotSplit:
    table = QuestionTable.from_questions(questions)
    description = describe_split(split.description.source, table, {})
    return replace(split, questions=table, description=description)


def _train(experiment: Experiment, snapshot: Snapshot, folder: Path) -> dict[str, Any]:
    """Train in a folder, or read its training; return what to report of it."""
    progress = Terminal()
    source = resolve_trainable(experiment, progress)
    record = finetune_cached(experiment, source, snapshot, folder, progress)
    return {
        "questions": record.data.n,
        "steps": record.steps,
        "losses": [record.losses[0].loss, record.losses[-1].loss],
        "duration_s": round(record.duration_s, 1),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--data", default="starter:train")
    parser.add_argument("--evaluate", default="starter:transfer")
    parser.add_argument("--method", choices=("lora", "full"), default="lora")
    parser.add_argument("--size", type=int, default=320, help="training questions, labels shuffled")
    parser.add_argument("--questions", type=int, help="evaluated questions; by default all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("runs") / "controls")
    parser.add_argument("--json-out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
