"""Benchmark one model in its own process: speed, latency and memory.

This module imports nothing that an endpoint does not need: it would count as model memory.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from medtune.core.intervals import quantile_upper_bound
from medtune.core.model_names import label_with_dtype
from medtune.core.progress import NoProgress
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import available_cores, peak_memory
from medtune.core.records import Method, Prediction, Question, SplitDescription
from medtune.core.schemas.compression import Measurement
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.evaluation.score import answer_questions
from medtune.models.open_index import open_index
from medtune.models.open_model import open_model
from medtune.models.sources import measure_weights_size
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.retrieval.evidence import EvidenceFinder

Result = TypeVar("Result")

WARMUP_QUESTIONS = 8
"""Questions asked before anything is timed; single ones, with the words of the stem reversed."""
LATENCY_QUESTIONS = 100
"""Questions timed one at a time; with fewer than 72 the p95 has no upper confidence limit."""


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """One model to benchmark, with its questions."""

    name: str
    """Model name."""
    dtype: str
    questions: tuple[Question, ...]
    data: SplitDescription
    method: Method
    index: Path | None = None
    """Index whose passages its prompts show; None for a closed book."""
    excluded: frozenset[int] = frozenset()
    """Rows of the passages that leak a question."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of questions that were asked one at a time."""

    threads: int
    """Threads that were the fastest."""
    times_s: tuple[float, ...]
    """Seconds of each question."""


def measure_in_subprocess(task: BenchmarkTask) -> tuple[Measurement, Sequence[Prediction]]:
    """Benchmark a model in fresh processes, so that memory of earlier models does not count.

    Raises:
        MedtuneError: The model cannot be used.
    """
    latency = _run_in_subprocess(time_single_questions, task)
    return _run_in_subprocess(measure_batches, task, latency)


def measure_model(task: BenchmarkTask) -> tuple[Measurement, Sequence[Prediction]]:
    """Benchmark a model in this process.

    Raises:
        MedtuneError: The model cannot be used.
    """
    return measure_batches(task, time_single_questions(task))


def _run_in_subprocess(work: Callable[..., Result], *given: object) -> Result:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *given).result()


def _open(task: BenchmarkTask) -> tuple[AnswerModel, Exam, float]:
    """Open the model of a task; return it with its exam and the seconds of loading."""
    asked = resolve_prompt_defaults(task.name)
    shown = asked.retrieval if task.index is not None else None
    start = time.perf_counter()
    model = open_model(
        task.name,
        questions=task.questions,
        style=asked.style,
        dtype=task.dtype,
        retrieval=shown,
    )
    evidence = None
    if task.index is not None and shown is not None:
        evidence = EvidenceFinder(open_index(task.index), shown, task.excluded)
    opened_s = time.perf_counter() - start
    exam = Exam.for_likelihood(task.questions, task.data, asked.style, task.method)
    return model, replace(exam, evidence=evidence), opened_s


def measure_batches(
    task: BenchmarkTask, latency: Latency
) -> tuple[Measurement, Sequence[Prediction]]:
    """Measure the loading, the speed in batches, the memory and the accuracy of a model.

    Raises:
        MedtuneError: The model cannot be used.
    """
    model, exam, opened_s = _open(task)
    answer_questions(model, exam, task.questions[:WARMUP_QUESTIONS], STRICT_PARSER, {})
    record, predictions = evaluate_model(model, exam, task.name, STRICT_PARSER, NoProgress())
    times = latency.times_s
    row = Measurement(
        name=label_with_dtype(task.name, task.dtype),
        model=record.model,
        load_s=opened_s,
        questions_per_s=record.questions_per_s,
        latency_p50_s=statistics.median(times),
        latency_p95_s=float(np.quantile(times, 0.95)),
        latency_p95_high_s=quantile_upper_bound(times, 0.95),
        latency_n=len(times),
        threads=latency.threads,
        peak_memory_bytes=peak_memory(),
        file_bytes=measure_weights_size(task.name),
        accuracy=record.accuracy,
    )
    return row, predictions


def time_single_questions(task: BenchmarkTask) -> Latency:
    """Time questions one at a time, with the fastest number of threads.

    None of them was asked before: llama.cpp, and servers, answer a question that they know from
    their cache. So the model warms up on stems with their words reversed. Small matrix products
    gain little from a second thread and nothing from a tenth.

    Raises:
        MedtuneError: The model cannot be used.
    """
    import torch

    model, exam, _ = _open(task)

    def timed(question: Question) -> float:
        # A finder remembers the passages of a question: each search is timed.
        evidence = replace(exam.evidence) if exam.evidence is not None else None
        fresh = replace(exam, evidence=evidence)
        start = time.perf_counter()
        answer_questions(model, fresh, [question], STRICT_PARSER, {})
        return time.perf_counter() - start

    warm = [
        question.model_copy(update={"stem": " ".join(reversed(question.stem.split()))})
        for question in task.questions[:WARMUP_QUESTIONS]
    ]

    def typical(threads: int) -> float:
        torch.set_num_threads(threads)
        return statistics.median(timed(question) for question in warm)

    answer_questions(model, exam, warm, STRICT_PARSER, {})
    cores = available_cores()
    best = min({1, max(1, cores // 2), cores}, key=typical)
    torch.set_num_threads(best)
    return Latency(best, tuple(timed(question) for question in task.questions[:LATENCY_QUESTIONS]))
