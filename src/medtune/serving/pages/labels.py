"""Display texts of statuses, guards, actions, states, decisions and reasons."""

from __future__ import annotations

from collections.abc import Sequence

from medtune.core.schemas.guardrails import ACTIONS as STRICTNESS
from medtune.core.schemas.guardrails import Action, GuardName, GuardVerdict
from medtune.serving.schemas import DecisionKind, ReviewState, Status

STATUSES: dict[Status, str] = {
    "answered": "Answered",
    "deferred": "Not sure enough to answer",
    "refused": "Not answered",
    "pending_review": "A reviewer looks at this first",
}
CHOICE_UNMEASURED = "The model's choice, not measured"
"""Heading of an answer by a model that was never calibrated."""
SHORT_STATUSES: dict[Status, str] = {
    "answered": "Answered",
    "deferred": "Deferred",
    "refused": "Refused",
    "pending_review": "Held for a reviewer",
}
"""Column headings."""
GUARDS: dict[GuardName, str] = {
    "size": "Size",
    "privacy": "Privacy",
    "crisis": "Crisis",
    "scope": "Scope",
    "injection": "Prompt injection",
    "sensitive": "Sensitive topic",
    "classifier": "Classifier",
    "moderation": "Moderation model",
    "confidence": "Confidence",
    "output": "Output",
}
GUARD_DESCRIPTIONS: dict[GuardName, str] = {
    "size": "limits the length",
    "privacy": "removes what identifies a person",
    "crisis": "shows where to get help if somebody is in danger",
    "scope": "refuses what is not an exam question",
    "injection": "refuses instructions to the model",
    "sensitive": "leaves some answers to a reviewer",
    "classifier": "checks the text a second time, with a trained classifier",
    "moderation": "asks a moderation model on a server",
    "confidence": "holds back answers that neither the model is sure of nor a passage decides",
    "output": "holds back output that is not an answer",
}
"""What each guard does, after its name."""
ACTIONS: dict[Action, str] = {
    "allow": "passed",
    "annotate": "noted",
    "defer": "held back",
    "refuse": "refused",
}
STATES: dict[ReviewState, str] = {
    "waiting": "Waiting",
    "claimed": "Claimed",
    "contested": "Two opinions differ",
    "decided": "Decided",
}
DECISIONS: dict[DecisionKind, str] = {
    "approve": "Approved",
    "edit": "Changed",
    "reject": "Rejected",
}
REASONS: dict[str, str] = {
    "size.stem": "The question is longer than is allowed",
    "size.option": "An option is longer than is allowed",
    "size.options": "There are more options than are allowed",
    "size.time": "There was not enough time to look at all of it",
    "privacy.redacted": "Names, numbers or dates of a person were taken out before it was asked",
    "privacy.unavailable": "What identifies a person could not be looked for",
    "crisis.self_harm": "Somebody may mean to harm themselves",
    "crisis.overdose": "Somebody may have taken too much",
    "crisis.poisoned": "Somebody may be poisoned",
    "crisis.breathing": "Somebody may not get enough air",
    "crisis.heart": "Somebody may have a heart attack",
    "crisis.stroke": "Somebody may have a stroke",
    "crisis.bleeding": "Somebody may be bleeding badly",
    "crisis.anaphylaxis": "Somebody may have a severe allergic reaction",
    "crisis.unresponsive": "Somebody may be unconscious",
    "crisis.child": "A child may be in danger",
    "scope.patient": "It asks about a person, not an exam question",
    "scope.prescription": "It asks for a prescription or a certificate",
    "scope.harm": "It asks for help to harm somebody",
    "scope.no_question": "It is not a question with at least two options",
    "injection.override": "It tells the model to ignore its rules",
    "injection.answer": "It tells the model which answer to give",
    "injection.chat": "It contains chat markup or program code",
    "injection.role": "It gives the model a role, a reward or a threat",
    "injection.prompt": "It asks for the prompt, or for something other than a letter",
    "injection.language": "It gives the model instructions in another language",
    "injection.hidden": "It contains hidden, encoded or disguised text",
    "sensitive.dosing": "It is about doses",
    "sensitive.oncology": "It is about the treatment of cancer",
    "sensitive.pregnancy": "It is about pregnancy",
    "sensitive.paediatrics": "It is about the treatment of children",
    "sensitive.emergency": "It is about emergencies",
    "classifier.crisis": "It reads like a crisis",
    "classifier.harmful": "It reads like a wish to harm",
    "classifier.patient": "It reads like a question about a person",
    "classifier.order": "It reads like an instruction to the model",
    "moderation.crisis": "The moderation model sees a person in danger",
    "moderation.harmful": "The moderation model sees harm",
    "moderation.patient": "The moderation model sees a question about a person",
    "moderation.order": "The moderation model sees an instruction to the model",
    "moderation.unavailable": "The moderation model did not answer in time",
    "moderation.no_label": "The moderation model answered with none of its labels",
    "confidence.low": "The model is less sure than required",
    "confidence.uncalibrated": "How often this model's choice is right was never measured",
    "confidence.evidence": "A passage decides it, not the model's confidence",
    "confidence.unseen_subject": "The model was never calibrated on this subject",
    "output.no_letter": "The model was about to write something other than a letter",
    "output.no_number": "The model gave no usable probabilities",
    "output.unavailable": "It could not be answered now; ask again",
    "output.tie": "The model finds two options equally likely",
}


def reason_label(code: str | None) -> str:
    """Return the display text of a reason code; an unknown code is returned as it is."""
    return "Nothing to remark" if code is None else REASONS.get(code, code)


def strictest_reason(verdicts: Sequence[GuardVerdict]) -> str | None:
    """Return the reason code of the strictest verdict."""
    strictest = max(verdicts, key=lambda verdict: STRICTNESS.index(verdict.action))
    return strictest.reason


def is_uncalibrated(verdicts: Sequence[GuardVerdict]) -> bool:
    """Return whether the answering model was never calibrated."""
    return any(verdict.reason == "confidence.uncalibrated" for verdict in verdicts)
