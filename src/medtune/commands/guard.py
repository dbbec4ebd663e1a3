"""Train the learned guard and the tagger, check lines of a file (`medtune guard ...`).

`workflows.guard_benchmark` has the test on the shipped cases.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from medtune.analysis.calibration import ScoredOptions, fit_temperature
from medtune.core.errors import InputError, first_line
from medtune.core.intervals import wilson_interval
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.records import Proportion
from medtune.core.run_folder import write_atomic
from medtune.core.schemas.guard_check import CheckedLine, GuardCheckRecord, QuestionLine
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import TaggerTrainedRecord, TrainedRecord
from medtune.data.load import load_split
from medtune.guardrails.benchmark.check_lines import (
    check_line,
    find_missed,
    is_as_expected,
    measure_shares,
)
from medtune.guardrails.benchmark.labelled_lines import load_templates
from medtune.guardrails.classifier.fit import train_classifier
from medtune.guardrails.classifier.learned import (
    DEFAULT_CLASSIFIER_FILE,
    INQUIRY_LABELS,
    PIECE_LABELS,
    ClassifierFile,
    LinearGuard,
    packed,
)
from medtune.guardrails.classifier.linear import Floats
from medtune.guardrails.classifier.training_texts import load_inquiry_texts, load_order_texts
from medtune.guardrails.inquiry_text import InquiryText
from medtune.guardrails.pipeline import Guards
from medtune.guardrails.policy import load_policy
from medtune.guardrails.privacy.tagger import (
    DEFAULT_TAGGER_FILE,
    IdentifierTagger,
    write_tagger,
)
from medtune.guardrails.privacy.train_tagger import measure_recall, train_tagger
from medtune.reports.guard_check import write_guard_check
from medtune.workflows.open_guards import open_guards

HELD_OUT_EXAM = 2_000
"""Exam questions on which the learned guard and the tagger are measured."""
PASSING_EXAM = 3_000
"""Most exam questions that the learned guard learns to let pass."""
SEED = 17
Checked = tuple[QuestionLine, CheckedLine]
"""A line, and what the guards say to it."""


def train_guard(exam: str, out: Path | None, progress: Progress) -> TrainedRecord:
    """Train the learned guard on the shipped examples and on exam questions.

    Args:
        exam: Exam questions that it must let pass; the last 2,000 are held out.
        out: File to write; None replaces the shipped one.
        progress: Reports what is trained on.

    Raises:
        InputError: Too few exam questions.
        ModuleNotFoundError: scikit-learn is not installed.
        MedtuneError: The questions cannot be loaded, or the file cannot be written.
    """
    start = time.perf_counter()
    import_module("sklearn")  # an extra: told before questions are loaded
    asked, held = _load_exam(exam, progress)
    asked = random.Random(SEED).sample(asked, min(PASSING_EXAM, len(asked)))
    texts, kinds = load_inquiry_texts(asked)
    pieces, orders = load_order_texts(asked)
    progress.log_message(f"{len(texts):,} inquiries, {len(pieces):,} sentences and options")
    by_kind, kind_shares = train_classifier(texts, kinds, INQUIRY_LABELS, _fit_temperature)
    by_order, order_shares = train_classifier(pieces, orders, PIECE_LABELS, _fit_temperature)
    trained = ClassifierFile(kinds=by_kind, orders=by_order)
    place = out or DEFAULT_CLASSIFIER_FILE
    write_atomic(place, lambda handle: handle.write(packed(trained)))
    guard, policy = LinearGuard(trained), load_policy()
    stopped = sum(guard.judge(InquiryText(q), policy).action != "allow" for q in held)
    return TrainedRecord(
        file=str(place),
        hash=trained.hash,
        texts=len(texts),
        pieces=len(pieces),
        held_out_kinds=_measure_accuracy(kind_shares, kinds, INQUIRY_LABELS),
        held_out_orders=_measure_accuracy(order_shares, orders, PIECE_LABELS),
        held_back=wilson_interval(stopped, len(held)),
        duration_s=time.perf_counter() - start,
    )


def train_identifier_tagger(
    exam: str, out: Path | None, hold_out: Sequence[str], progress: Progress
) -> TaggerTrainedRecord:
    """Train the tagger of names, addresses and telephone numbers on the shipped templates.

    Args:
        exam: Questions that are taken to have no identifiers; the last 2,000 are held out.
        out: File to write; None replaces the shipped one.
        hold_out: Authors whose templates are not trained on, but measured.
        progress: Reports what is trained on.

    Raises:
        InputError: Too few exam questions, or there is no such author.
        MedtuneError: The questions cannot be loaded, or the file cannot be written.
    """
    start = time.perf_counter()
    templates = load_templates()
    if unknown := sorted(set(hold_out) - {line.author for line in templates}):
        authors = sorted({line.author for line in templates})
        raise InputError(
            f"no such author: {', '.join(unknown)}", expected=f"{authors[0]} to {authors[-1]}"
        )
    asked, held = _load_exam(exam, progress)
    draw = random.Random(SEED)
    texts = [text for q in asked for text in (q.stem, draw.choice(q.options))]
    mine = [line for line in templates if line.author not in hold_out]
    progress.log_message(f"{len(mine):,} templates, {len(texts):,} texts of exam questions")
    # A file's folder says nothing to others.
    source = exam if not exam.startswith("file:") else f"file:{Path(exam[5:]).name}"
    trained, weights = train_tagger(mine, texts, source, SEED)
    place = out or DEFAULT_TAGGER_FILE
    write_tagger(place, trained, weights)
    tagger = IdentifierTagger(trained, weights)
    others = [line for line in templates if line.author in hold_out]
    touched = sum(any(tagger.find(q.stem)) for q in held)
    return TaggerTrainedRecord(
        file=str(place),
        templates=len(mine),
        exam_texts=len(texts),
        found=measure_recall(tagger, others, SEED),
        touched=wilson_interval(touched, len(held)),
        duration_s=time.perf_counter() - start,
    )


def _load_exam(source: str, progress: Progress) -> tuple[list[Inquiry], list[Inquiry]]:
    """Load exam questions: those to train on, and those that are held out."""
    questions = load_split(source, progress=progress, for_training=True).questions
    if len(questions) <= HELD_OUT_EXAM:
        raise InputError(
            f"{source} has {len(questions):,} questions",
            expected=f"more than the {HELD_OUT_EXAM:,} that are held out",
        )
    asked = [Inquiry(stem=q.stem, options=q.options) for q in questions]
    return asked[:-HELD_OUT_EXAM], asked[-HELD_OUT_EXAM:]


def check_file(
    file: Path,
    emit: Callable[[CheckedLine], None],
    *,
    policy: Path | None = None,
    learned: Path | None = None,
    tagger: Path | None = None,
    page: Path | None = None,
) -> GuardCheckRecord:
    """Run the guards on every line of a JSON Lines file, and summarize what they say.

    Args:
        file: A line has `id`, `stem` and `options`; `expected` actions and `expected_spans` are
            compared with what is found.
        emit: Takes what the guards say to each line, in order.
        policy: Policy file; None is the starter policy.
        learned: File of the learned guard; None is the shipped one.
        tagger: File of the tagger of names; None is the shipped one.
        page: File of a page with the lines that are not as expected; None writes none.

    Raises:
        InputError: The file cannot be read, or a line is no question; earlier lines are emitted.
        MedtuneError: Policy, learned guard, tagger, an engine or page cannot be used.
    """
    guards = open_guards(policy, learned, tagger)
    record, pairs = check_lines(read_lines(file), file.name, guards, emit)
    if page is not None:
        wrong = [(*pair, find_missed(*pair)) for pair in pairs if not is_as_expected(*pair)]
        write_guard_check(page, record, wrong)
    return record


def check_lines(
    lines: Iterable[QuestionLine],
    name: str,
    guards: Guards,
    emit: Callable[[CheckedLine], None] | None = None,
) -> tuple[GuardCheckRecord, list[Checked]]:
    """Run the guards on lines, and summarize what they say.

    Args:
        lines: At least one.
        name: Name of the file for the record.
        guards: The guards.
        emit: Takes what the guards say to each line, in order.

    Returns:
        The summary, and every line with what the guards say to it.
    """
    pairs: list[Checked] = []
    times: list[float] = []
    for line in lines:
        start = time.perf_counter()
        checked = check_line(line, guards)
        times.append(1000 * (time.perf_counter() - start))
        if emit is not None:
            emit(checked)
        pairs.append((line, checked))
    record = GuardCheckRecord(
        file=name,
        policy=guards.policy.version,
        policy_hash=guards.policy.hash,
        learned_hash=guards.learned_hash,
        engines=guards.engines,
        actions=dict(sorted(Counter(checked.action for _, checked in pairs).items())),
        shares=measure_shares(pairs),
        p50_ms=statistics.median(times),
        p95_ms=float(np.quantile(times, 0.95)),
        provenance=collect_provenance(),
    )
    return record, pairs


def read_lines(file: Path) -> Iterator[QuestionLine]:
    """Read the lines of a file, checked one by one.

    Raises:
        InputError: The file cannot be read, is empty, or a line is no question.
    """
    found = 0
    try:
        with file.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, 1):
                if text.strip():
                    found += 1
                    yield _parse_line(text, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read: {first_line(error)}", expected="a file of JSON lines, UTF-8"
        ) from error
    if not found:
        raise InputError(f"{file} is empty", expected="a line for each question")


def _parse_line(text: str, place: str) -> QuestionLine:
    try:
        return QuestionLine.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise InputError(
            ": ".join(filter(None, (place, field, fault["msg"]))),
            expected='JSON with "id", "stem" and "options", such as '
            '{"id": "1", "stem": "Which?", "options": ["this", "that"]}',
        ) from error


def _fit_temperature(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    widths = np.full(len(truth), probabilities.shape[1])
    return fit_temperature(ScoredOptions(probabilities, truth, widths))


def _measure_accuracy(found: Floats, named: Sequence[str], labels: tuple[str, ...]) -> Proportion:
    chosen = found.argmax(axis=1)
    hits = sum(labels[place] == name for place, name in zip(chosen, named, strict=True))
    return wilson_interval(hits, len(named))
