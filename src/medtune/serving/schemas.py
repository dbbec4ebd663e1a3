"""Records of the endpoint: replies, stored requests, reviews, feedback and keys."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from medtune.core.records import Probability, Proportion, Record
from medtune.core.schemas.audit import AuditHead
from medtune.core.schemas.guardrails import CardName, EvidencePassage, GuardVerdict

Status = Literal["answered", "deferred", "refused", "pending_review"]
Role = Literal["ask", "review", "admin"]
ROLES: tuple[Role, ...] = ("ask", "review", "admin")
"""In ascending order: each role includes the rights of those before it."""
ReviewState = Literal["waiting", "claimed", "contested", "decided"]
"""contested: two opinions differ, and a third decides."""
DecisionKind = Literal["approve", "edit", "reject"]
ShadowOutcome = Literal["same", "other", "skipped", "failed"]
"""Whether the shadow chose the champion's option or another, was skipped for lack of time, or
failed."""


class FixedText(Record):
    """A fixed text shown instead of an answer."""

    name: CardName
    title: str
    text: str


class MeasuredAccuracy(Record):
    """A model's accuracy on a named set of questions."""

    source: str
    """Source of the questions."""
    accuracy: Proportion
    """Wilson 95 %."""


class Reply(Record):
    """The endpoint's reply to one question."""

    request_id: str
    status: Status
    letter: str | None
    """Letter of the chosen option; None unless the question is answered."""
    probabilities: tuple[Probability, ...] | None
    """Calibrated probabilities of the options, which sum to 1. None if no model was asked, if a
    reviewer decides first, or if a passage decided: they do not measure that answer."""
    prediction_set: tuple[str, ...] | None
    """Letters that include the right one as often as the policy promises; None if the model was
    never calibrated, or no answer is shown."""
    confidence: Probability | None
    """Probability of the chosen option; None as for the probabilities."""
    evidence: tuple[EvidencePassage, ...] | None = None
    """Up to three passages for the likeliest option, the best first; empty if none was found. None
    if the endpoint has no index, if no answer is shown, or in a reply that is read again: like the
    question, passages are not kept for it."""
    reasons: tuple[GuardVerdict, ...]
    """Verdicts of all guards, in order."""
    card: FixedText | None = None
    """Shown instead of an answer."""
    measured: MeasuredAccuracy | None = None
    """Accuracy of the model where it was measured. None if it never was: then nothing is known
    about how often the letter is right."""
    disclaimer: str
    release: str
    """Name of the release or the model that answered."""

    @property
    def likely_letters(self) -> tuple[str, ...]:
        """The prediction set of a question without an answer; empty if it has all options."""
        inside, given = self.prediction_set or (), self.probabilities or ()
        return inside if self.letter is None and len(inside) < len(given) else ()


class AnswerRecord(Record):
    """One question, asked from the command line through the endpoint's guards."""

    kind: Literal["answer"] = "answer"
    model: str
    """Name of the model."""
    stem: str
    options: tuple[str, ...]
    reply: Reply
    duration_s: float = Field(ge=0)
    """Seconds from question to reply, without loading the model."""


class RequestRecord(Record):
    """A stored request: numbers and codes, no text unless the policy says so."""

    request_id: str
    time: datetime
    """UTC."""
    caller: str | None
    """Name of the key; None on the loopback interface."""
    text_hmac: str
    """Keyed hash of the normalized inquiry, 64 hex digits: it identifies equal questions."""
    length: int
    """Length of the same text in characters."""
    options: int
    subject: str | None
    status: Status
    reasons: tuple[GuardVerdict, ...]
    chosen: int | None
    """Index of the likeliest option, shown or not; None if no model was asked."""
    probabilities: tuple[Probability, ...] | None
    release: str
    duration_s: float
    redacted: str | None = None
    """The redacted inquiry, if the policy keeps it."""


class ShadowAnswer(Record):
    """A shadow's answer to one request; it is never shown to the caller."""

    request_id: str
    release: str
    """Release of the shadow."""
    outcome: ShadowOutcome
    chosen: int | None
    """Index of its likeliest option; None if it gave no answer."""
    probabilities: tuple[Probability, ...] | None
    unsure: bool | None
    """Whether its own thresholds would have held the answer back."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = [part is not None for part in (self.chosen, self.probabilities, self.unsure)]
        if set(given) != {self.outcome in ("same", "other")}:
            raise ValueError("a shadow that answered has an option, and no other has")
        return self


class AnswerReviewItem(Record):
    """An answer that a reviewer decides on before it is given."""

    request_id: str
    time: datetime
    """Time of the request, UTC."""
    stem: str
    """Redacted."""
    options: tuple[str, ...]
    """Redacted."""
    subject: str | None
    topic: str
    """Reason code of the verdict that requires the review."""
    proposed: int | None
    """Index of the model's option."""
    probabilities: tuple[Probability, ...] | None
    release: str
    evidence: tuple[EvidencePassage, ...] | None = None
    """Passages found for the model's option; None if the endpoint has no index."""
    state: ReviewState = "waiting"
    reviewer: str | None = None
    """Reviewer who holds the lease."""
    lease_until: datetime | None = None
    """End of the lease, UTC."""
    wants_second: bool = False
    """Whether a second opinion is required."""


class Decision(Record):
    """A reviewer's decision."""

    kind: DecisionKind
    """Give the model's answer, another one, or none."""
    chosen: int | None = Field(default=None, ge=0)
    """Index of the option given instead; with "edit" only."""
    note: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "edit") != (self.chosen is not None):
            raise ValueError("an edit names an option, and nothing else does")
        return self


class ReviewerDecision(Record):
    """One reviewer's decision on one item."""

    request_id: str
    reviewer: str
    time: datetime
    decision: Decision
    second: bool
    """Whether this is the second opinion, given without seeing the first."""


class Reviewed(Record):
    """A review item with its opinions and the final decision."""

    item: AnswerReviewItem
    opinions: tuple[ReviewerDecision, ...]
    final: Decision | None
    """The final decision; None until the item is decided."""

    @property
    def answer(self) -> int | None:
        """Index of the option finally given; None if none is, or not yet."""
        if self.final is None:
            return None
        return self.item.proposed if self.final.kind == "approve" else self.final.chosen


class Feedback(Record):
    """A caller's feedback on an answer."""

    request_id: str
    time: datetime
    helpful: bool | None = None
    """Thumb up or down."""
    corrected: int | None = Field(default=None, ge=0)
    """Index of the option that the caller considers right."""


class AuditVerified(Record):
    """The result of a successful audit verification."""

    kind: Literal["audit"] = "audit"
    head: AuditHead
    anchored: int
    """Number of anchored heads that the trail was compared with."""
    since: int | None
    """Line of the first anchored head; None if there is none."""
    anchor: str
    """Path of the anchor."""


RESERVED_NAMES = LOCAL_CALLER, OPERATOR, ENDPOINT = ("local", "operator", "endpoint")
"""Names of callers without a key, of the command line, and of the endpoint itself."""


class ApiKey(Record):
    """An API key; its text is shown once and stored as a hash."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    role: Role
    per_minute: int = Field(default=60, ge=1)
    """Questions a minute."""
    created: datetime
    revoked: datetime | None = None


class KeyMade(Record):
    """A new key, with its text."""

    kind: Literal["key"] = "key"
    key: ApiKey
    secret: str
    """Text of the key, shown once; the store has its hash only."""


class KeyList(Record):
    """All keys, the oldest first."""

    kind: Literal["keys"] = "keys"
    keys: tuple[ApiKey, ...]
    audit: AuditHead | None = None
    """Head of the audit trail, to be noted elsewhere."""
