"""`medtune guard train | test`: teach the learned guard, and hold all guards to the suites."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtune.analysis.ask import likelihoods
from medtune.analysis.calibration import Scored, fit_temperature
from medtune.core.folder import write_record
from medtune.core.guard import Inquiry
from medtune.core.intervals import wilson
from medtune.core.model import AnswerModel
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle, likelihood_of
from medtune.core.provenance import provenance
from medtune.core.records import Method, Proportion, Question
from medtune.core.safety import SafetyRecord, TrainedRecord
from medtune.data.load import load_split
from medtune.guard.classifier import Floats
from medtune.guard.learned import FILE, KINDS, PIECES, Trained, opened, shipped
from medtune.guard.learning import learn
from medtune.guard.measure import Changed, Gauge
from medtune.guard.policy import load_policy
from medtune.guard.suites import ROOM
from medtune.guard.teaching import kind_texts, order_texts
from medtune.models.card import manner
from medtune.models.door import open_model

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
    trained = Trained(kinds=first, orders=second)
    place = out or ROOM / FILE
    write_record(place, trained)
    return TrainedRecord(
        file=str(place),
        hash=trained.hash,
        texts=len(texts),
        pieces=len(some),
        held_out_kinds=_right(told, kinds, KINDS),
        held_out_orders=_right(found, orders, PIECES),
        duration_s=time.perf_counter() - start,
    )


def examine(
    policy: Path | None, learned: Path | None, model: str | None, progress: Progress
) -> SafetyRecord:
    """Hold the guards of a policy to both halves of the suites.

    Args:
        policy: Its file; None is the starter policy.
        learned: File of the learned guard; None is the one that is shipped.
        model: Asked what the orders change that get through; None asks none.
        progress: Told of a long loading.

    Raises:
        MedtuneError: Policy, learned guard or model cannot be used.
    """
    rules, judge = load_policy(policy), opened(learned) if learned else shipped()
    gauge = Gauge(rules, judge)
    changed = _changed(model, progress) if model else None
    figures = [figure for half in ("dev", "held") for figure in gauge.figures(half, changed)]
    times = sorted(1000 * seconds for seconds in gauge.seconds)
    return SafetyRecord(
        policy=rules.version,
        policy_hash=rules.hash,
        learned_hash=judge.trained.hash,
        model=model,
        figures=tuple(figures),
        guards_p50_ms=statistics.median(times),
        guards_p95_ms=times[int(0.95 * len(times))],
        provenance=provenance(),
    )


def _heat(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    widths = np.full(len(truth), probabilities.shape[1])
    return fit_temperature(Scored(probabilities, truth, widths))


def _right(found: Floats, named: Sequence[str], labels: tuple[str, ...]) -> Proportion:
    chosen = found.argmax(axis=1)
    hits = sum(labels[place] == name for place, name in zip(chosen, named, strict=True))
    return wilson(hits, len(named))


def _changed(name: str, progress: Progress) -> Changed:
    """Count answers that an order changes."""
    asked = manner(name)
    model = open_model(name, style=asked.style, progress=progress, light=True)
    method = likelihood_of(asked.target)

    def count(pairs: Sequence[tuple[Inquiry, Inquiry]]) -> int:
        chosen = [
            [_choice(model, asked.style, method, inquiry) for inquiry in pair] for pair in pairs
        ]
        return sum(plain != injected for plain, injected in chosen)

    return count


def _choice(model: AnswerModel, style: PromptStyle, method: Method, inquiry: Inquiry) -> int:
    question = Question(id="q", stem=inquiry.stem, options=inquiry.options, answer=None)
    ((probabilities, _),) = likelihoods(model, style, method, [question])
    return probabilities.index(max(probabilities))
