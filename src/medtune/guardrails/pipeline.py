"""Run the input guards on an inquiry, in the policy's order.

A moderation model on a server comes last: it reads what the others left, with its identifiers
redacted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from medtune.core.errors import ModelError
from medtune.core.schemas.guardrails import (
    GuardName,
    GuardVerdict,
    Inquiry,
    strictest_action,
)
from medtune.guardrails.classifier.learned import LearnedGuard, LinearGuard
from medtune.guardrails.input_rules.crisis import detect_crisis
from medtune.guardrails.input_rules.injection import detect_injection
from medtune.guardrails.input_rules.scope import check_scope
from medtune.guardrails.input_rules.sensitive_topics import detect_sensitive_topic
from medtune.guardrails.inquiry_text import InquiryText, normalize_text
from medtune.guardrails.moderation import ModerationGuard
from medtune.guardrails.policy import ANSWER_GUARDS, Policy
from medtune.guardrails.privacy.identifiers import (
    IdentifierFinder,
    find_identifiers,
    redact_inquiry,
)
from medtune.guardrails.rules import make_verdict

Guard = Callable[[InquiryText, Policy], GuardVerdict]
RULE_GUARDS: dict[GuardName, Guard] = {
    "crisis": detect_crisis,
    "scope": check_scope,
    "injection": detect_injection,
    "sensitive": detect_sensitive_topic,
}
MAX_WINDOWS = 8
"""Most windows that are read of a long text."""
WINDOW_OVERLAP = 200
"""Characters shared by adjacent windows, so that a phrase is whole in one of them."""


@dataclass(frozen=True, slots=True)
class Guards:
    """A policy with what its guards need.

    Attributes:
        policy: The guards, their order and strictness.
        classifier: The learned guard.
        find_identifiers: Finds what is redacted.
        privacy_engine: Name and version of the engine that finds it; None for medtune's own.
        moderation: Asks a moderation model; None if the policy names none.
    """

    policy: Policy
    classifier: LearnedGuard
    find_identifiers: IdentifierFinder = find_identifiers
    privacy_engine: str | None = None
    moderation: ModerationGuard | None = None

    @property
    def learned_hash(self) -> str:
        """Hash of the learned guard's weights; empty for a custom one."""
        learned = self.classifier
        return learned.trained.hash if isinstance(learned, LinearGuard) else ""

    @property
    def engines(self) -> tuple[str, ...]:
        """Names and versions of the engines that are not medtune's own."""
        asked = self.moderation and self.moderation.engine
        return tuple(engine for engine in (self.privacy_engine, asked) if engine)

    def without(self, name: GuardName) -> Guards:
        """Return the guards without one of them."""
        order = tuple(kept for kept in self.policy.order if kept != name)
        return replace(self, policy=self.policy.model_copy(update={"order": order}))


@dataclass(frozen=True, slots=True)
class GuardOutcome:
    """The result of the input guards."""

    inquiry: Inquiry | None
    """The redacted inquiry: what a model is asked and what may be stored. Its subject is a listed
    one. None if the inquiry was refused before redaction."""
    verdicts: tuple[GuardVerdict, ...]
    """In order; only a crisis verdict can follow a refusal."""


def run_input_guards(
    inquiry: Inquiry, guards: Guards, subjects: Collection[str] = (), until: float = math.inf
) -> GuardOutcome:
    """Run all input guards on an inquiry until one refuses.

    Args:
        inquiry: As received.
        guards: The guards.
        subjects: Known subjects besides the policy's: those of the calibration.
        until: Deadline on the monotonic clock, in seconds; unfinished guards refuse then.
    """
    outcome = run_local_guards(inquiry, guards, subjects, until)
    return moderate(outcome, guards, until)


def run_local_guards(
    inquiry: Inquiry, guards: Guards, subjects: Collection[str] = (), until: float = math.inf
) -> GuardOutcome:
    """Run the input guards that ask no server; see `run_input_guards`."""
    policy = guards.policy
    verdicts: list[GuardVerdict] = []
    subject = find_listed_subject(inquiry.subject, (*policy.subjects, *subjects))
    clean: Inquiry | None = None
    # A listed subject reveals nothing; any other is free text, which the guards read.
    reading = InquiryText(
        inquiry if subject is None else inquiry.model_copy(update={"subject": None})
    )
    for name in policy.order:
        if name in ANSWER_GUARDS or name == "moderation":
            continue
        if time.monotonic() > until:
            verdict = timeout_verdict(verdicts)
        elif name == "size":
            verdict = check_size(reading, policy)
            if verdict.action == "refuse":
                urgent = scan_for_crisis(inquiry, policy, until)
                return GuardOutcome(None, (verdict, urgent) if urgent else (verdict,))
        elif name == "privacy":
            try:
                marked = redact_inquiry(reading.inquiry, guards.find_identifiers)
            except ModelError:
                return _refuse_unread(inquiry, guards, verdicts, until)
            found = marked != reading.inquiry
            clean = marked.model_copy(update={"subject": subject})
            verdict = make_verdict("privacy", "annotate", "privacy.redacted" if found else None)
            verdict = verdict.model_copy(update={"engine": guards.privacy_engine})
        else:
            guard = guards.classifier.judge if name == "classifier" else RULE_GUARDS[name]
            verdict = _run_guard(name, guard, reading, policy)
        verdicts.append(verdict)
        if verdict.action == "refuse":
            break
    return GuardOutcome(clean, tuple(verdicts))


def _refuse_unread(
    inquiry: Inquiry, guards: Guards, verdicts: Sequence[GuardVerdict], until: float
) -> GuardOutcome:
    """Refuse an inquiry whose identifiers could not be looked for; a crisis gets its card."""
    failed = make_verdict("privacy", "refuse", "privacy.unavailable", "scope")
    failed = failed.model_copy(update={"engine": guards.privacy_engine})
    urgent = scan_for_crisis(inquiry, guards.policy, until)
    return GuardOutcome(None, (*verdicts, failed, *([urgent] if urgent else [])))


def moderate(outcome: GuardOutcome, guards: Guards, until: float = math.inf) -> GuardOutcome:
    """Ask the moderation model, if there is one, about an inquiry that no other guard refused.

    After `until` it is not asked, and the inquiry is held back.
    """
    refused = strictest_action(outcome.verdicts) == "refuse"
    if guards.moderation is None or outcome.inquiry is None or refused:
        return outcome
    find = guards.find_identifiers
    try:
        # Of the redacted inquiry, the earlier turns are as received.
        earlier = tuple(redact_inquiry(turn, find) for turn in outcome.inquiry.earlier)
    except ModelError:
        verdict = guards.moderation.hold_back()
    else:
        clean = outcome.inquiry.model_copy(update={"earlier": earlier})
        late = time.monotonic() > until
        verdict = guards.moderation.hold_back() if late else guards.moderation.judge(clean)
    return replace(outcome, verdicts=(*outcome.verdicts, verdict))


def find_listed_subject(subject: str | None, known: Collection[str]) -> str | None:
    """Return the known subject, ignoring case and white space; None for any other."""
    wanted = " ".join((subject or "").split()).casefold()
    return next((name for name in known if name.casefold() == wanted), None)


def scan_for_crisis(
    inquiry: Inquiry, policy: Policy, until: float = math.inf
) -> GuardVerdict | None:
    """Search an inquiry of any length for a crisis by rules alone; None without one.

    Of a stem longer than the policy allows, up to `MAX_WINDOWS` windows of the allowed length are
    read, half of them from its beginning and half from its end. A text that there was no time to
    read counts as a crisis.

    Args:
        inquiry: As received; the earlier turns of its chat are read as well.
        policy: Its sizes are the lengths that are read.
        until: Deadline on the monotonic clock, in seconds.
    """
    most = policy.size
    for turn in (inquiry, *inquiry.earlier):
        kept = turn.options[: most.options]
        options = tuple(normalize_text(option)[: most.option] for option in kept)
        subject = turn.subject and normalize_text(turn.subject)[: most.option]
        for stem in _windows(normalize_text(turn.stem), most.stem):
            if time.monotonic() > until:
                return timeout_verdict(())
            piece = Inquiry(stem=stem, options=options, subject=subject)
            verdict = detect_crisis(InquiryText(piece), policy)
            if verdict.action == "refuse":
                return verdict
    return None


def _windows(text: str, width: int) -> Iterator[str]:
    """Cut a text into overlapping windows; of a long one, the first and the last."""
    step = max(1, width - WINDOW_OVERLAP)
    starts = list(range(0, max(1, len(text) - WINDOW_OVERLAP), step))
    if len(starts) > MAX_WINDOWS:
        starts = starts[: MAX_WINDOWS // 2] + starts[-(MAX_WINDOWS // 2) :]
    return (text[start : start + width] for start in starts)


def _run_guard(name: GuardName, guard: Guard, reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Run a guard on a question and, if it passes, on the other turns of its chat.

    Only the question has a sensitive topic, an earlier turn need not have options, and turns of
    others can only contain an injection.
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


def check_size(reading: InquiryText, policy: Policy) -> GuardVerdict:
    """Refuse an inquiry larger than the policy allows, so that other guards are fast.

    Raw and normalized lengths are both limited, since some characters expand to eighteen.
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
    return make_verdict("size", "refuse", reason)


def timeout_verdict(looked: Sequence[GuardVerdict]) -> GuardVerdict:
    """Refuse an inquiry that the guards could not finish in time.

    Unless the crisis guard is among the verdicts so far, the crisis card is shown.
    """
    card = "scope" if any(verdict.guard == "crisis" for verdict in looked) else "crisis"
    return GuardVerdict(guard="size", action="refuse", reason="size.time", card=card)
