"""All guards that look at a question, in the policy's order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
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
PIECES = 8
"""Pieces that are read of a text that is too long."""
OVERLAP = 200
"""Characters that two pieces share, so that no phrase is cut in both."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of looking at an inquiry."""

    inquiry: Inquiry
    """Redacted: what a model is asked, and what may be kept.  Its subject is a listed one."""
    verdicts: tuple[Verdict, ...]
    """In order; nothing but a crisis follows a refusal."""


def look(
    inquiry: Inquiry, policy: Policy, classifier: Judge, subjects: Collection[str] = ()
) -> Looked:
    """Let the guards look at an inquiry until one refuses.

    Args:
        inquiry: As it came in.
        policy: Which guards, in which order, how strict.
        classifier: The learned guard.
        subjects: Subjects that are known beside the policy's: those of the calibration.
    """
    verdicts: list[Verdict] = []
    subject = listed(inquiry.subject, (*policy.subjects, *subjects))
    clean = inquiry.model_copy(update={"subject": subject})
    # A listed subject says nothing of the asker; any other is read like what was asked.
    reading = Reading(inquiry if subject is None else inquiry.model_copy(update={"subject": None}))
    for name in policy.order:
        if name in AFTER:
            continue
        if name == "size":
            verdict = size(inquiry, policy)
            if verdict.action == "refuse" and (urgent := crisis_in(inquiry, policy)) is not None:
                return Looked(clean, (verdict, urgent))
        elif name == "privacy":
            found = redacted(reading.inquiry) != reading.inquiry
            clean = redacted(clean)
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


def listed(subject: str | None, known: Collection[str]) -> str | None:
    """Find the known subject that is meant, whatever its case and blanks; None for any other."""
    wanted = " ".join((subject or "").split()).casefold()
    return next((name for name in known if name.casefold() == wanted), None)


def crisis_in(inquiry: Inquiry, policy: Policy) -> Verdict | None:
    """Find a crisis by the rules alone, in an inquiry of any length; None where there is none.

    Of what is longer than the policy allows the beginning and the end are read, piece by piece:
    `PIECES` times the longest stem.
    """
    most = policy.size
    options = tuple(option[: most.option] for option in inquiry.options[: most.options])
    subject = inquiry.subject and inquiry.subject[: most.option]
    for stem in _windows(inquiry.stem, most.stem):
        piece = Inquiry(stem=stem, options=options, subject=subject)
        verdict = crisis(Reading(piece), policy)
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
