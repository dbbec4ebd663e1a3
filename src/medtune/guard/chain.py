"""All guards that look at a question, in the policy's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medtune.core.guard import GuardName, Inquiry, Verdict
from medtune.guard.crisis import crisis
from medtune.guard.injection import injection
from medtune.guard.learned import Judge
from medtune.guard.policy import AFTER, Policy
from medtune.guard.privacy import redacted
from medtune.guard.reading import Reading
from medtune.guard.scope import scope
from medtune.guard.sensitive import sensitive

Guard = Callable[[Reading, Policy], Verdict]
RULES: dict[GuardName, Guard] = {
    "crisis": crisis,
    "scope": scope,
    "injection": injection,
    "sensitive": sensitive,
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of looking at an inquiry."""

    inquiry: Inquiry
    """Redacted: what a model is asked, and what may be kept."""
    verdicts: tuple[Verdict, ...]
    """In order; nothing follows a refusal."""


def look(inquiry: Inquiry, policy: Policy, classifier: Judge) -> Looked:
    """Let the guards look at an inquiry until one refuses."""
    verdicts: list[Verdict] = []
    clean, reading = inquiry, Reading(inquiry)
    for name in policy.order:
        if name in AFTER:
            continue
        if name == "size":
            verdict = size(inquiry, policy)
        elif name == "privacy":
            clean = redacted(inquiry)
            found = clean != inquiry
            verdict = Verdict(
                guard="privacy",
                action="annotate" if found else "allow",
                reason="privacy.redacted" if found else None,
            )
        elif name == "classifier":
            verdict = classifier.judge(reading, policy)
        else:
            verdict = RULES[name](reading, policy)
        verdicts.append(verdict)
        if verdict.action == "refuse":
            break
    return Looked(clean, tuple(verdicts))


def size(inquiry: Inquiry, policy: Policy) -> Verdict:
    """Refuse what is larger than the policy allows; the first guard, so that others are quick."""
    most = policy.size
    reason = None
    if len(inquiry.stem) > most.stem:
        reason = "size.stem"
    elif len(inquiry.options) > most.options:
        reason = "size.options"
    elif any(len(option) > most.option for option in inquiry.options):
        reason = "size.option"
    return Verdict(guard="size", action="refuse" if reason else "allow", reason=reason)
