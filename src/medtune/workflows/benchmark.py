"""One model, measured in a process of its own: what it takes to answer.

Nothing is imported here that an endpoint would not need: it would count as the model's memory.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from medtune.core.intervals import quantile_upper
from medtune.core.progress import NoProgress
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import available_cores, peak_memory
from medtune.core.records import Method, Prediction, Question, SplitDescription
from medtune.core.schemas.compression import Measurement
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examine
from medtune.evaluation.score import ask
from medtune.models.open_model import open_model
from medtune.models.sources import weights_on_disk
from medtune.models.weights_card import manner

WARM = 8
"""Questions asked before anything is timed."""
ALONE = 100
"""Questions timed one at a time; 72 at least, or their 95th percentile has no upper end."""


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """What is measured."""

    name: str
    """Of the model."""
    dtype: str
    questions: tuple[Question, ...]
    data: SplitDescription
    method: Method


def measured_alone(task: BenchmarkTask) -> tuple[Measurement, list[Prediction]]:
    """Measure in a fresh process: what another model left in memory would count.

    Raises:
        MedtuneError: The model cannot be used.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, task).result()


def measure(task: BenchmarkTask) -> tuple[Measurement, list[Prediction]]:
    """Measure in this process.

    Raises:
        MedtuneError: The model cannot be used.
    """
    style = manner(task.name).style
    start = time.perf_counter()
    model = open_model(task.name, questions=task.questions, style=style, dtype=task.dtype)
    opened_s = time.perf_counter() - start
    exam = Exam.plain(task.questions, task.data, style, task.method)
    ask(model, exam, task.questions[:WARM], STRICT, {})
    record, predictions = examine(model, exam, task.name, STRICT, NoProgress())
    threads, times = _one_at_a_time(model, exam, task.questions[:ALONE])
    row = Measurement(
        name=task.name if task.dtype == "auto" else f"{task.name}, {task.dtype}",
        model=record.model,
        load_s=opened_s,
        questions_per_s=record.questions_per_s,
        latency_p50_s=statistics.median(times),
        latency_p95_s=sorted(times)[int(0.95 * (len(times) - 1))],
        latency_p95_high_s=quantile_upper(times, 0.95),
        latency_n=len(times),
        threads=threads,
        peak_memory_bytes=peak_memory(),
        file_bytes=weights_on_disk(task.name),
        accuracy=record.accuracy,
    )
    return row, predictions


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

    def typical(threads: int) -> float:
        torch.set_num_threads(threads)
        return statistics.median(timed(question) for question in questions[:WARM])

    cores = available_cores()
    best = min({1, max(1, cores // 2), cores}, key=typical)
    torch.set_num_threads(best)
    return best, [timed(question) for question in questions]
