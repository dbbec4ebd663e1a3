"""Guards on an answer: is the model sure enough, and is the output an answer?"""

from __future__ import annotations

import math
from collections.abc import Iterable

from medtune.core.schemas.guardrails import (
    AnswerEvidence,
    GuardVerdict,
    Inquiry,
    OptionScores,
    ServingCalibration,
)
from medtune.guardrails.policy import EvidenceRule, Policy
from medtune.guardrails.rules import make_verdict

MIN_LETTER_MASS = 0.1
"""Least total probability of the letters; below it, the model was about to write other text."""
TIE_MARGIN = 1e-6
DECIDED_BY_EVIDENCE = "confidence.evidence"
"""Reason code of an answer that a passage decides."""


def check_confidence(
    inquiry: Inquiry, scores: OptionScores, calibration: ServingCalibration | None, policy: Policy
) -> GuardVerdict:
    """Hold back an answer whose confidence is below the calibrated threshold.

    A passage that decides lets it pass. The calibration is None for a model that was never
    calibrated.
    """
    verdict = _check_calibrated(inquiry, scores, calibration, policy)
    if verdict.action in ("defer", "refuse") and evidence_decides(scores.evidence, policy.evidence):
        return make_verdict("confidence", "annotate", DECIDED_BY_EVIDENCE)
    return verdict


def evidence_decides(evidence: AnswerEvidence | None, rule: EvidenceRule | None) -> bool:
    """Return whether a passage matches that is for the chosen option, and none for another."""
    if evidence is None or rule is None:
        return False
    return evidence.match >= rule.match > evidence.rival


def is_decided_by_evidence(verdicts: Iterable[GuardVerdict]) -> bool:
    """Return whether a passage decided the answer: the model's probabilities are not about it."""
    return any(verdict.reason == DECIDED_BY_EVIDENCE for verdict in verdicts)


def _check_calibrated(
    inquiry: Inquiry, scores: OptionScores, calibration: ServingCalibration | None, policy: Policy
) -> GuardVerdict:
    rule = policy.confidence
    if calibration is None:
        return make_verdict("confidence", rule.uncalibrated, "confidence.uncalibrated")
    if inquiry.subject is not None and inquiry.subject not in calibration.subjects:
        return make_verdict("confidence", rule.unseen, "confidence.unseen_subject")
    low = calibration.threshold is None or scores.confidence < calibration.threshold
    return make_verdict("confidence", rule.action, "confidence.low" if low else None)


def check_output(scores: OptionScores) -> GuardVerdict:
    """Defer output that is not an answer: no likely letter, no numbers, or a tie."""
    best, second, *_ = sorted(scores.probabilities, reverse=True)
    reason = None
    if not all(map(math.isfinite, scores.probabilities)):
        reason = "output.no_number"
    elif scores.mass is not None and scores.mass < MIN_LETTER_MASS:
        reason = "output.no_letter"
    elif best - second < TIE_MARGIN:
        reason = "output.tie"
    return make_verdict("output", "defer", reason)


def unavailable_verdict() -> GuardVerdict:
    """Defer a question that could not be answered: model, store or queue are unavailable."""
    return make_verdict("output", "defer", "output.unavailable")


def prediction_set(scores: OptionScores, calibration: ServingCalibration) -> tuple[int, ...]:
    """Return the options of the conformal prediction set (LAC), at least the likeliest one.

    An empty set would be shown as if nothing were possible.
    """
    inside = (i for i, p in enumerate(scores.probabilities) if 1 - p <= calibration.quantile)
    return tuple(inside) or (scores.chosen,)
