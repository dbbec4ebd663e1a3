"""`medtune answer STEM --option A --option B`: ask a model one question, as the endpoint would."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.progress import Progress
from medtune.core.records import MAX_OPTIONS, MIN_OPTIONS, Method
from medtune.core.schemas.guardrails import Inquiry, strictest
from medtune.guardrails.classifier.learned import shipped
from medtune.guardrails.pipeline import look
from medtune.guardrails.policy import load_policy
from medtune.serving.inference.reply import question_of, reply_of, status_of
from medtune.serving.schemas import AnswerRecord
from medtune.workflows.load_predictor import mind_for, with_calibration


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What the command line may say."""

    stem: str
    options: tuple[str, ...]
    model: str
    """A model, or the folder of a run."""
    method: Method | None = None
    """None is letter for a model that was taught letters, else cloze."""
    policy: Path | None = None
    """None is the starter policy."""
    calibration: Path | None = None
    """Evaluation of calibration questions; None takes a run's own, or goes without."""
    unfit: bool = False
    """Ask a packed model even if it did not pass the parity gate."""


def answer(options: AnswerOptions, progress: Progress) -> AnswerRecord:
    """Ask one question, through the guards that an endpoint has.

    The model is opened only if the guards let the question through.

    Raises:
        DataError: It has too few or too many options, or an empty text.
        CheckFailed: The model is marked unfit.
        MedtuneError: The model, its calibration or the policy cannot be used.
    """
    inquiry, policy, classifier = _inquiry(options), load_policy(options.policy), shipped()
    start = time.perf_counter()
    looked = look(inquiry, policy, classifier)
    request_id, verdicts = uuid.uuid4().hex, looked.verdicts
    name, evaluation = with_calibration(options.model, options.calibration, options.method)
    if looked.inquiry is None or strictest(verdicts) == "refuse":
        reply = reply_of(request_id, "refused", verdicts, None, None, name)
    else:
        mind = mind_for(
            name, evaluation, options.method, policy, classifier, progress, unfit=options.unfit
        )
        start = time.perf_counter()
        (thought,) = mind.think([question_of(inquiry, looked.inquiry)])
        verdicts += mind.judged(inquiry, thought)
        # Nobody reviews here: what would wait for a person is deferred.
        status = status_of(verdicts, reviewed=False)
        reply = reply_of(request_id, status, verdicts, thought, mind.calibration, name)
    return AnswerRecord(
        model=name,
        stem=inquiry.stem,
        options=inquiry.options,
        reply=reply,
        duration_s=time.perf_counter() - start,
    )


def _inquiry(options: AnswerOptions) -> Inquiry:
    texts = tuple(text.strip() for text in options.options)
    faults = []
    if not options.stem.strip():
        faults.append("the question is empty")
    if not MIN_OPTIONS <= len(texts) <= MAX_OPTIONS:
        faults.append(f"{len(texts)} options")
    if not all(texts):
        faults.append("an option is empty")
    if len(set(texts)) < len(texts):
        faults.append("two options are the same")
    if faults:
        raise DataError(
            "; ".join(faults),
            expected=f"a question and {MIN_OPTIONS} to {MAX_OPTIONS} different options",
            fix="give each with --option",
        )
    return Inquiry(stem=options.stem.strip(), options=texts)
