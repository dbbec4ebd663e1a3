from __future__ import annotations

import pytest

from medtune.core.schemas.guardrails import (
    AnswerEvidence,
    Inquiry,
    OptionScores,
    ServingCalibration,
)
from medtune.guardrails.answer_guards import check_confidence, evidence_decides
from medtune.guardrails.policy import EvidenceRule, Policy, load_policy

ASKED = Inquiry(stem="Which?", options=("a", "b"), subject="Anatomy")
CALIBRATION = ServingCalibration(
    temperature=2.0, threshold=0.7, risk=0.2, bound=0.18, coverage=0.7, quantile=0.75, level=0.9,
    subjects=("Anatomy",), n=200, source="c", hash="0" * 64,
)  # fmt: skip
NOTHING = AnswerEvidence(passages=(), match=0.0, rival=0.0)
DECIDING = AnswerEvidence(passages=(), match=0.6, rival=0.59)


@pytest.mark.parametrize(
    ("match", "rival", "decides"),
    [(0.6, 0.0, True), (0.5999, 0.0, False), (0.9, 0.5999, True), (0.9, 0.6, False),
     (0.0, 0.9, False), (1.0, 1.0, False)],
)  # fmt: skip
def test_one_option_alone_must_be_matched(match: float, rival: float, decides: bool) -> None:
    found = AnswerEvidence(passages=(), match=match, rival=rival)
    assert evidence_decides(found, EvidenceRule(match=0.6)) is decides
    assert evidence_decides(found, None) is False
    assert evidence_decides(None, EvidenceRule()) is False


@pytest.mark.parametrize(
    ("confidence", "calibration", "evidence", "action", "reason"),
    [
        (0.7, CALIBRATION, None, "allow", None),
        (0.7, CALIBRATION, DECIDING, "allow", None),
        (0.69, CALIBRATION, NOTHING, "defer", "confidence.low"),
        (0.69, CALIBRATION, DECIDING, "annotate", "confidence.evidence"),
        (0.99, None, NOTHING, "defer", "confidence.uncalibrated"),
        (0.51, None, DECIDING, "annotate", "confidence.evidence"),
    ],
)
def test_confidence_or_a_passage_decides(
    confidence: float,
    calibration: ServingCalibration | None,
    evidence: AnswerEvidence | None,
    action: str,
    reason: str | None,
) -> None:
    scores = OptionScores(probabilities=(confidence, 1 - confidence), chosen=0, evidence=evidence)
    verdict = check_confidence(ASKED, scores, calibration, load_policy())
    assert (verdict.action, verdict.reason) == (action, reason)


def test_a_policy_without_the_rule_is_as_strict_as_it_was() -> None:
    written = load_policy().model_dump(exclude={"evidence"})
    former = Policy.model_validate(written)
    scores = OptionScores(probabilities=(0.5, 0.5), chosen=0, evidence=DECIDING)
    assert check_confidence(ASKED, scores, CALIBRATION, former).reason == "confidence.low"
    assert check_confidence(ASKED, scores, None, former).reason == "confidence.uncalibrated"
    assert former.hash != load_policy().hash
