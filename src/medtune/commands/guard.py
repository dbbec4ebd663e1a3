"""Train the learned guard (`medtune guard train`); see `workflows.guard_benchmark` for the test."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtune.analysis.calibration import ScoredOptions, fit_temperature
from medtune.core.intervals import wilson_interval
from medtune.core.progress import Progress
from medtune.core.records import Proportion
from medtune.core.run_folder import write_atomic
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import TrainedRecord
from medtune.data.load import load_split
from medtune.guardrails.classifier.fit import train_classifier
from medtune.guardrails.classifier.learned import (
    DEFAULT_CLASSIFIER_FILE,
    INQUIRY_LABELS,
    PIECE_LABELS,
    ClassifierFile,
    packed,
)
from medtune.guardrails.classifier.linear import Floats
from medtune.guardrails.classifier.training_texts import load_inquiry_texts, load_order_texts

PASSING_DATA = "starter:train"
"""Exam questions that the learned guard must let pass."""


def train_guard(out: Path | None, progress: Progress) -> TrainedRecord:
    """Train the learned guard on the shipped examples.

    Without a file, the shipped one is replaced.

    Raises:
        FolderError: The file cannot be written.
    """
    start = time.perf_counter()
    exam = [Inquiry(stem=q.stem, options=q.options) for q in load_split(PASSING_DATA).questions]
    texts, kinds = load_inquiry_texts(exam)
    pieces, orders = load_order_texts(exam)
    progress.log_message(f"{len(texts):,} inquiries, {len(pieces):,} sentences and options")
    by_kind, kind_shares = train_classifier(texts, kinds, INQUIRY_LABELS, _fit_temperature)
    by_order, order_shares = train_classifier(pieces, orders, PIECE_LABELS, _fit_temperature)
    trained = ClassifierFile(kinds=by_kind, orders=by_order)
    place = out or DEFAULT_CLASSIFIER_FILE
    write_atomic(place, lambda handle: handle.write(packed(trained)))
    return TrainedRecord(
        file=str(place),
        hash=trained.hash,
        texts=len(texts),
        pieces=len(pieces),
        held_out_kinds=_measure_accuracy(kind_shares, kinds, INQUIRY_LABELS),
        held_out_orders=_measure_accuracy(order_shares, orders, PIECE_LABELS),
        duration_s=time.perf_counter() - start,
    )


def _fit_temperature(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    widths = np.full(len(truth), probabilities.shape[1])
    return fit_temperature(ScoredOptions(probabilities, truth, widths))


def _measure_accuracy(found: Floats, named: Sequence[str], labels: tuple[str, ...]) -> Proportion:
    chosen = found.argmax(axis=1)
    hits = sum(labels[place] == name for place, name in zip(chosen, named, strict=True))
    return wilson_interval(hits, len(named))
