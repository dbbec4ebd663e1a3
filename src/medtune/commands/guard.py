"""`medtune guard train`: teach the learned guard.  `workflows/guard_benchmark.py` has `medtune guard test`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtune.analysis.calibration import ScoredOptions, fit_temperature
from medtune.core.intervals import wilson
from medtune.core.progress import Progress
from medtune.core.records import Proportion
from medtune.core.run_folder import write_atomic
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import TrainedRecord
from medtune.data.load import load_split
from medtune.guardrails.classifier.fit import learn
from medtune.guardrails.classifier.learned import KINDS, PIECES, SHIPPED, ClassifierFile, packed
from medtune.guardrails.classifier.linear import Floats
from medtune.guardrails.classifier.training_texts import kind_texts, order_texts

EXAM = "starter:train"
"""Further exam questions that the learned guard has to let pass."""


def train(out: Path | None, progress: Progress) -> TrainedRecord:
    """Train the learned guard on the examples that come with it.

    Args:
        out: Where to write it; None is in place of the one that is shipped.
        progress: Told what is done.

    Raises:
        FolderError: It cannot be written.
    """
    start = time.perf_counter()
    exam = [Inquiry(stem=q.stem, options=q.options) for q in load_split(EXAM).questions]
    texts, kinds = kind_texts(exam)
    some, orders = order_texts(exam)
    progress.say(f"{len(texts):,} inquiries, {len(some):,} sentences and options")
    first, told = learn(texts, kinds, KINDS, _heat)
    second, found = learn(some, orders, PIECES, _heat)
    trained = ClassifierFile(kinds=first, orders=second)
    place = out or SHIPPED
    write_atomic(place, lambda handle: handle.write(packed(trained)))
    return TrainedRecord(
        file=str(place),
        hash=trained.hash,
        texts=len(texts),
        pieces=len(some),
        held_out_kinds=_right(told, kinds, KINDS),
        held_out_orders=_right(found, orders, PIECES),
        duration_s=time.perf_counter() - start,
    )


def _heat(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    widths = np.full(len(truth), probabilities.shape[1])
    return fit_temperature(ScoredOptions(probabilities, truth, widths))


def _right(found: Floats, named: Sequence[str], labels: tuple[str, ...]) -> Proportion:
    chosen = found.argmax(axis=1)
    hits = sum(labels[place] == name for place, name in zip(chosen, named, strict=True))
    return wilson(hits, len(named))
