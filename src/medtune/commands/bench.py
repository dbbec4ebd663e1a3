"""`medtune bench MODEL...`: speed, latency, memory, size and accuracy of models side by side.

Each is measured alone, one after the other, in a process of its own: opened, warmed, asked all
questions in batches, then some of them one at a time.  Writes `record.json` and `bench.html`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medtune.analysis.pareto import side_by_side
from medtune.core.predictions_io import RECORD
from medtune.core.progress import Progress
from medtune.core.provenance import provenance
from medtune.core.records import Method
from medtune.core.run_folder import locked, write_record
from medtune.core.schemas.compression import BenchRecord
from medtune.data.load import load_split
from medtune.models.weights_card import card_named
from medtune.reports.bench import write_bench
from medtune.workflows.benchmark import BenchmarkTask, measured_alone

PAGE = "bench.html"


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What the command line may say."""

    models: tuple[str, ...]
    """The first is what the others are held against."""
    data: str
    method: Method = "letter"
    limit: int | None = None
    dtypes: tuple[str, ...] = ("auto",)
    """Of models that are not packed; each is measured in every one."""


def bench(options: BenchOptions, folder: Path, progress: Progress) -> BenchRecord:
    """Measure every model, one after the other.

    Raises:
        MedtuneError: The data, a model or the folder cannot be used.
    """
    split = load_split(options.data, size=options.limit, progress=progress)
    questions = tuple(split.questions)
    with locked(folder):
        found = []
        for model, dtype in _variants(options):
            progress.say(f"{model}{'' if dtype == 'auto' else ', ' + dtype}")
            task = BenchmarkTask(model, dtype, questions, split.description, options.method)
            found.append(measured_alone(task))
        record = BenchRecord(
            data=split.description,
            method=options.method,
            rows=side_by_side(found),
            provenance=provenance(),
        )
        write_bench(folder / PAGE, record)
        write_record(folder / RECORD, record)
    return record


def _variants(options: BenchOptions) -> list[tuple[str, str]]:
    """List what is measured, as (model, dtype): a packed model has an arithmetic of its own."""
    variants = []
    for model in options.models:
        card = card_named(model)
        dtypes = ("auto",) if card is not None and card.packed else options.dtypes
        variants += [(model, dtype) for dtype in dtypes]
    return variants
