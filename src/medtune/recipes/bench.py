"""`medtune bench MODEL...`: speed, latency, memory, size and accuracy of models side by side.

Each is measured alone, one after the other, in a process of its own: opened, warmed, asked all
questions in batches, then some of them one at a time.  Writes `record.json` and `bench.html`.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from medtune.analysis.ask import ask
from medtune.analysis.bench import side_by_side
from medtune.analysis.bench_page import write_bench
from medtune.analysis.exam import Exam
from medtune.analysis.examine import examine
from medtune.answers.parse import STRICT
from medtune.core.compress import BenchRecord, BenchRow
from medtune.core.experiment import EvaluationConfig
from medtune.core.folder import locked, write_record
from medtune.core.ledger import RECORD
from medtune.core.model import AnswerModel
from medtune.core.progress import Progress, Silent
from medtune.core.provenance import available_cores, peak_memory, provenance
from medtune.core.records import Method, Prediction, Question
from medtune.data.load import load_split
from medtune.models.card import card_named, manner, parted
from medtune.models.door import open_model
from medtune.models.sources import resolve, weights_bytes

PAGE = "bench.html"
WARM = 8
"""Questions asked before anything is timed."""
ALONE = 50
"""Questions timed one at a time."""


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


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process found."""

    row: BenchRow
    predictions: list[Prediction]


def bench(options: BenchOptions, folder: Path, progress: Progress) -> BenchRecord:
    """Measure every model, one after the other.

    Raises:
        MedtuneError: The data, a model or the folder cannot be used.
    """
    split = load_split(options.data, size=options.limit, progress=progress)
    with locked(folder):
        found = []
        for model, dtype in _variants(options):
            progress.say(f"{model}{'' if dtype == 'auto' else ', ' + dtype}")
            found.append(_alone(options, model, dtype))
        record = BenchRecord(
            data=split.description,
            method=options.method,
            rows=side_by_side([(one.row, one.predictions) for one in found]),
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


def _alone(options: BenchOptions, model: str, dtype: str) -> Measured:
    """Measure in a fresh process: what another model left in memory would count."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, options, model, dtype).result()


def measure(options: BenchOptions, name: str, dtype: str) -> Measured:
    """Measure one model in this process.

    Raises:
        MedtuneError: The data or the model cannot be used.
    """
    split = load_split(options.data, size=options.limit)
    libraries = _libraries()
    asked = manner(name, None, None, None, None)
    start = time.perf_counter()
    model = open_model(name, questions=split.questions, style=asked.style, dtype=dtype)
    load_s = time.perf_counter() - start
    exam = Exam.planned(
        EvaluationConfig(options_only=0),
        options.method,
        split.questions,
        split.description,
        asked.style,
        asked.target,
        (),
    )
    ask(model, exam, exam.questions[:WARM], STRICT, {})
    record, predictions = examine(model, exam, name, STRICT, Silent())
    threads, times = _one_at_a_time(model, exam, exam.questions[:ALONE])
    described = record.model
    row = BenchRow(
        name=name if dtype == "auto" else f"{name}, {dtype}",
        model=described,
        load_s=load_s,
        questions_per_s=record.questions_per_s,
        latency_p50_s=statistics.median(times),
        latency_p95_s=sorted(times)[int(0.95 * (len(times) - 1))],
        latency_n=len(times),
        threads=threads,
        peak_memory_bytes=peak_memory(),
        library_memory_bytes=libraries,
        file_bytes=_file_bytes(name),
        accuracy=record.accuracy,
        agreement=record.accuracy,
    )
    return Measured(row, predictions)


def _libraries() -> int:
    """Load what every model needs, and say how much memory that takes, bytes."""
    import transformers.modeling_utils  # noqa: F401 - takes 200 MB by itself

    import medtune.models.local  # noqa: F401

    return int(psutil.Process().memory_info().rss)


def _file_bytes(name: str) -> int | None:
    if name.startswith(("remote:", "fake:")):
        return None
    base, adapter = parted(name)
    return weights_bytes(resolve(base).folder, adapter)


def _one_at_a_time(
    model: AnswerModel, exam: Exam, questions: Sequence[Question]
) -> tuple[int, list[float]]:
    """Time questions asked alone, s each, with as many threads as are fastest for that.

    Small products gain little from a second thread and nothing from a tenth.
    """
    import torch

    def timed(question: Question) -> float:
        start = time.perf_counter()
        ask(model, exam, [question], STRICT, {})
        return time.perf_counter() - start

    cores = available_cores()
    best: tuple[float, int] | None = None
    for threads in sorted({1, max(1, cores // 2), cores}):
        torch.set_num_threads(threads)
        tried = statistics.median(timed(question) for question in questions[:WARM])
        best = min(best or (tried, threads), (tried, threads))
    assert best is not None, "there is at least one core"
    torch.set_num_threads(best[1])
    return best[1], [timed(question) for question in questions]
