"""Benchmark models (`medtune bench MODEL...`): speed, latency, memory, size and accuracy.

Each model runs alone, in two processes of its own: one asks it questions one at a time, the other,
in which nothing was asked before, all of them in batches.  Writes `record.json` and `bench.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.analysis.pareto import make_bench_rows
from medtune.core.model_names import label_with_dtype
from medtune.core.predictions_io import RECORD_FILE
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.records import Method
from medtune.core.run_folder import lock_folder, write_record
from medtune.core.schemas.compression import BenchRecord
from medtune.data.load import load_split
from medtune.models.weights_card import find_card
from medtune.reports.bench import write_bench
from medtune.workflows.benchmark import BenchmarkTask, measure_in_subprocess

PAGE = "bench.html"


def bench(
    models: Sequence[str],
    data: str,
    folder: Path,
    progress: Progress,
    *,
    method: Method = "letter",
    limit: int | None = None,
    dtypes: Sequence[str] = ("auto",),
) -> BenchRecord:
    """Benchmark every model, one after the other; the first is the reference.

    An unquantized model is measured in every dtype.

    Raises:
        MedtuneError: The data, a model or the folder cannot be used.
    """
    split = load_split(data, size=limit, progress=progress)
    questions = tuple(split.questions)
    with lock_folder(folder):
        found = []
        for model, dtype in _list_variants(models, dtypes):
            progress.log_message(label_with_dtype(model, dtype))
            task = BenchmarkTask(model, dtype, questions, split.description, method)
            found.append(measure_in_subprocess(task))
        record = BenchRecord(
            data=split.description,
            method=method,
            rows=make_bench_rows(found),
            provenance=collect_provenance(),
        )
        write_bench(folder / PAGE, record)
        write_record(folder / RECORD_FILE, record)
    return record


def _list_variants(models: Sequence[str], dtypes: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (model, dtype) pairs to measure; a quantized model has a single dtype."""
    variants = []
    for model in models:
        card = find_card(model)
        own = ("auto",) if card is not None and card.is_quantized else dtypes
        variants += [(model, dtype) for dtype in own]
    return variants
