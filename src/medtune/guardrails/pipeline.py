"""All guards that look at a question, in the policy's order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from medtune.core.schemas.guardrails import GuardName, GuardVerdict, Inquiry
from medtune.guardrails.classifier.learned import TextClassifier
from medtune.guardrails.input_rules.crisis import crisis
from medtune.guardrails.input_rules.injection import injection
from medtune.guardrails.input_rules.scope import scope
from medtune.guardrails.input_rules.sensitive_topics import sensitive
from medtune.guardrails.inquiry_text import InquiryText, fold
from medtune.guardrails.policy import AFTER, Policy
from medtune.guardrails.privacy.identifiers import redacted

Guard = Callable[[InquiryText, Policy], GuardVerdict]
RULES: dict[GuardName, Guard] = {
    "crisis": crisis,
    "scope": scope,
    "injection": injection,
    "sensitive": sensitive,
}
PIECES = 8
"""Pieces that are read of a text that is too long."""
OVERLAP = 200
"""Characters that two pieces share, so that no phrase is cut in both."""


@dataclass(frozen=True, slots=True)
class GuardOutcome:
    """What came of looking at an inquiry."""

    inquiry: Inquiry | None
    """Redacted: what a model is asked, and what may be kept.  Its subject is a listed one.  None
    where it was refused before privacy looked at it."""
    verdicts: tuple[GuardVerdict, ...]
    """In order; nothing but a crisis follows a refusal."""


def look(
    inquiry: Inquiry,
    policy: Policy,
    classifier: TextClassifier,
    subjects: Collection[str] = (),
    until: float = math.inf,
) -> GuardOutcome:
    """Let the guards look at an inquiry until one refuses.

    Args:
        inquiry: As it came in.
        policy: Which guards, in which order, how strict.
        classifier: The learned guard.
        subjects: Subjects that are known beside the policy's: those of the calibration.
        until: Seconds on the monotonic clock at which what was not looked at is refused.
    """
    verdicts: list[GuardVerdict] = []
    subject = listed(inquiry.subject, (*policy.subjects, *subjects))
    clean: Inquiry | None = None
    # A listed subject says nothing of the asker; any other is read like what was asked.
    reading = InquiryText(
        inquiry if subject is None else inquiry.model_copy(update={"subject": None})
    )
    for name in policy.order:
        if name in AFTER:
            continue
        if time.monotonic() > until:
            verdict = late(verdicts)
        elif name == "size":
            verdict = size(reading, policy)
            if verdict.action == "refuse":
                urgent = crisis_in(inquiry, policy, until)
                return GuardOutcome(None, (verdict, urgent) if urgent else (verdict,))
        elif name == "privacy":
            marked = redacted(reading.inquiry)
            found = marked != reading.inquiry
            clean = marked.model_copy(update={"subject": subject})
            verdict = GuardVerdict(
                guard="privacy",
                action="annotate" if found else "allow",
                reason="privacy.redacted" if found else None,
            )
        else:
            verdict = _said(
                name, classifier.judge if name == "classifier" else RULES[name], reading, policy
            )
        verdicts.append(verdict)
        if verdict.action == "refuse":
            break
    return GuardOutcome(clean, tuple(verdicts))


def listed(subject: str | None, known: Collection[str]) -> str | None:
    """Find the known subject that is meant, whatever its case and blanks; None for any other."""
    wanted = " ".join((subject or "").split()).casefold()
    return next((name for name in known if name.casefold() == wanted), None)


def crisis_in(inquiry: Inquiry, policy: Policy, until: float = math.inf) -> GuardVerdict | None:
    """Find a crisis by the rules alone, in an inquiry of any length; None where there is none.

    Of what is longer than the policy allows the beginning and the end are read, piece by piece:
    `PIECES` times the longest stem.  What there was no time for is taken for a crisis.

    Args:
        inquiry: As it came in; the earlier turns of its chat are read as well.
        policy: How long a text may be.
        until: Seconds on the monotonic clock at which nothing more is read.
    """
    most = policy.size
    for turn in (inquiry, *inquiry.earlier):
        options = tuple(fold(option)[: most.option] for option in turn.options[: most.options])
        subject = turn.subject and fold(turn.subject)[: most.option]
        for stem in _windows(fold(turn.stem), most.stem):
            if time.monotonic() > until:
                return late(())
            piece = Inquiry(stem=stem, options=options, subject=subject)
            verdict = crisis(InquiryText(piece), policy)
            if verdict.action == "refuse":
                return verdict
    return None


def _windows(text: str, width: int) -> Iterator[str]:
    """Cut a text into overlapping pieces; of a long one, the first and the last."""
    step = max(1, width - OVERLAP)
    starts = list(range(0, max(1, len(text) - OVERLAP), step))
    if len(starts) > PIECES:
        starts = starts[: PIECES // 2] + starts[-(PIECES // 2) :]
    return (text[start : start + width] for start in starts)


def _said(name: GuardName, guard: Guard, reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Let a guard look at a question and, where there is nothing in it, at the rest of its chat.

    A topic is the question's alone, and an earlier turn need be no question; what others said
    may hold orders.
    """
    verdict = guard(reading, policy)
    if verdict.action in ("defer", "refuse") or name == "sensitive":
        return verdict
    for turn in reading.earlier + (reading.around if name == "injection" else ()):
        found = guard(turn, policy)
        counts = found.action == "refuse" or (name == "injection" and found.reason is not None)
        if counts and found.reason != "scope.no_question":
            return found
    return verdict


def size(reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Refuse what is larger than the policy allows; the first guard, so that others are quick.

    Lengths hold as written and as folded, for some characters stand for eighteen.
    """
    most, inquiry = policy.size, reading.inquiry
    parts = len(inquiry.options) + bool(reading.subject)
    reason = None
    if len(inquiry.stem) > most.stem:
        reason = "size.stem"
    elif len(inquiry.options) > most.options:
        reason = "size.options"
    elif any(len(option) > most.option for option in inquiry.options):
        reason = "size.option"
    elif len(reading.stem) > most.stem:
        reason = "size.stem"
    elif len(reading.text) - len(reading.stem) > parts * (most.option + 1):
        reason = "size.option"
    return GuardVerdict(guard="size", action="refuse" if reason else "allow", reason=reason)


def late(looked: Sequence[GuardVerdict]) -> GuardVerdict:
    """Refuse what could not be looked at in time, with the crisis card unless none was found.

    Args:
        looked: What the guards said until then.
    """
    card = "scope" if any(verdict.guard == "crisis" for verdict in looked) else "crisis"
    return GuardVerdict(guard="size", action="refuse", reason="size.time", card=card)
