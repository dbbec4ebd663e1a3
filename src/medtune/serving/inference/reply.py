"""Build the reply from the guards' verdicts and the model's scores."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from medtune.core.records import LETTERS, Question, normalize_option
from medtune.core.schemas.guardrails import GuardVerdict, Inquiry, OptionScores, ServingCalibration
from medtune.guardrails.answer_guards import is_decided_by_evidence, prediction_set
from medtune.guardrails.policy import ANSWER_GUARDS
from medtune.serving.inference.fixed_texts import CARDS, DISCLAIMER
from medtune.serving.schemas import MeasuredAccuracy, Reply, Status


def build_question(inquiry: Inquiry, redacted: Inquiry) -> Question:
    """Return the question that a model is asked.

    Args:
        inquiry: As received.
        redacted: Without personal identifiers; not used if redaction made two options equal.
    """
    clean = redacted
    if len({normalize_option(option) for option in clean.options}) < len(clean.options):
        clean = inquiry  # redaction made two options equal
    return Question(
        id=uuid.uuid4().hex,
        stem=clean.stem,
        options=clean.options,
        answer=None,
        subject=redacted.subject,
    )


def reply_status(verdicts: Sequence[GuardVerdict], *, reviewed: bool) -> Status:
    """Return the status of a reply by all verdicts; without reviews here, answers are deferred."""
    actions = {verdict.action for verdict in verdicts}
    if "refuse" in actions:
        return "refused"
    holding = [v for v in verdicts if v.action == "defer"]
    if not holding:
        return "answered"
    unsure = all(v.guard in ANSWER_GUARDS for v in holding)
    return "deferred" if unsure or not reviewed else "pending_review"


def build_reply(
    request_id: str,
    status: Status,
    verdicts: tuple[GuardVerdict, ...],
    scores: OptionScores | None,
    calibration: ServingCalibration | None,
    release: str,
) -> Reply:
    """Build a reply with as much of the model's choice as the status allows.

    Args:
        request_id: 32 hex digits.
        status: Of the request.
        verdicts: Of all guards, in order.
        scores: None if the model was not asked.
        calibration: None if the model was never calibrated.
        release: Its name.
    """
    shown: dict[str, Any] = {}
    held = any(v.action == "defer" and v.guard not in ANSWER_GUARDS for v in verdicts)
    cited = status == "answered" and is_decided_by_evidence(verdicts)
    if scores is not None and status in ("answered", "deferred") and not held:
        if scores.evidence is not None:
            shown["evidence"] = scores.evidence.passages
        if not cited:
            shown |= {"probabilities": scores.probabilities, "confidence": scores.confidence}
        if calibration is not None and not cited:
            inside = prediction_set(scores, calibration)
            shown["prediction_set"] = tuple(LETTERS[index] for index in inside)
        if status == "answered":
            shown["letter"] = LETTERS[scores.chosen]
    card = next((CARDS[v.card] for v in verdicts if v.card), None)
    none = {"letter": None, "probabilities": None, "prediction_set": None, "confidence": None}
    return Reply(
        request_id=request_id,
        status=status,
        reasons=verdicts,
        card=card,
        measured=None if cited else _measured_accuracy(calibration),
        disclaimer=DISCLAIMER,
        release=release,
        **{**none, **shown},
    )


def _measured_accuracy(calibration: ServingCalibration | None) -> MeasuredAccuracy | None:
    if calibration is None or calibration.accuracy is None:
        return None
    return MeasuredAccuracy(source=calibration.source, accuracy=calibration.accuracy)
