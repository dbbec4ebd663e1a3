"""Turn what guards and model say into the answer that an asker sees."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from medtune.core.records import LETTERS, Question, normalized_option
from medtune.core.schemas.guardrails import GuardVerdict, Inquiry, OptionScores, ServingCalibration
from medtune.guardrails.answer_guards import prediction_set
from medtune.guardrails.policy import AFTER
from medtune.serving.inference.fixed_texts import CARDS, DISCLAIMER
from medtune.serving.schemas import MeasuredAccuracy, Reply, Status


def question_of(inquiry: Inquiry, redacted: Inquiry) -> Question:
    """Return the question that a model is asked.

    Args:
        inquiry: As it came in.
        redacted: Without personal identifiers; not used where that made two options the same.
    """
    clean = redacted
    if len({normalized_option(option) for option in clean.options}) < len(clean.options):
        clean = inquiry  # a mark that was written by hand is another option's now
    return Question(
        id=uuid.uuid4().hex,
        stem=clean.stem,
        options=clean.options,
        answer=None,
        subject=redacted.subject,
    )


def status_of(verdicts: Sequence[GuardVerdict], *, reviewed: bool) -> Status:
    """Return the status of an answer.

    Args:
        verdicts: Of all guards.
        reviewed: Whether people review answers here; where nobody does, they are deferred.
    """
    actions = {verdict.action for verdict in verdicts}
    if "refuse" in actions:
        return "refused"
    holding = [v for v in verdicts if v.action == "defer"]
    if not holding:
        return "answered"
    unsure = all(v.guard in AFTER for v in holding)
    return "deferred" if unsure or not reviewed else "pending_review"


def reply_of(
    request_id: str,
    status: Status,
    verdicts: tuple[GuardVerdict, ...],
    thought: OptionScores | None,
    calibration: ServingCalibration | None,
    release: str,
) -> Reply:
    """Return the answer, with as much of the model's choice as the status allows.

    Args:
        request_id: 32 hex digits.
        status: What became of the question.
        verdicts: Of all guards, in their order.
        thought: What the model made of it; None where none was asked.
        calibration: Of the model; None where it was never measured.
        release: What answers.
    """
    shown: dict[str, Any] = {}
    held = any(v.action == "defer" and v.guard not in AFTER for v in verdicts)
    if thought is not None and status in ("answered", "deferred") and not held:
        shown = {"probabilities": thought.probabilities, "confidence": thought.confidence}
        if calibration is not None:
            inside = prediction_set(thought, calibration)
            shown["prediction_set"] = tuple(LETTERS[index] for index in inside)
        if status == "answered":
            shown["letter"] = LETTERS[thought.chosen]
    card = next((CARDS[v.card] for v in verdicts if v.card), None)
    none = {"letter": None, "probabilities": None, "prediction_set": None, "confidence": None}
    return Reply(
        request_id=request_id,
        status=status,
        reasons=verdicts,
        card=card,
        measured=_measured(calibration),
        disclaimer=DISCLAIMER,
        release=release,
        **{**none, **shown},
    )


def _measured(calibration: ServingCalibration | None) -> MeasuredAccuracy | None:
    if calibration is None or calibration.accuracy is None:
        return None
    return MeasuredAccuracy(source=calibration.source, accuracy=calibration.accuracy)
