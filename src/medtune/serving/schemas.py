"""What the endpoint answers, keeps, and asks reviewers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from medtune.core.records import Probability, Proportion, Record
from medtune.core.schemas.audit import AuditHead
from medtune.core.schemas.guardrails import CardName, GuardVerdict

Status = Literal["answered", "deferred", "refused", "pending_review"]
Role = Literal["ask", "review", "admin"]
ROLES: tuple[Role, ...] = ("ask", "review", "admin")
"""Each may do what those before it may."""
ReviewState = Literal["waiting", "claimed", "contested", "decided"]
"""contested: two opinions differ, and a third decides."""
DecisionKind = Literal["approve", "edit", "reject"]
ShadowOutcome = Literal["same", "other", "skipped", "failed"]
"""The shadow chose what was chosen, or another option; it had no time; it could not be asked."""


class FixedText(Record):
    """A fixed text that is given instead of an answer."""

    name: CardName
    title: str
    text: str


class MeasuredAccuracy(Record):
    """How often a model was right on questions that have a name."""

    source: str
    """Where the questions come from."""
    accuracy: Proportion
    """Wilson 95 %."""


class Reply(Record):
    """The endpoint's answer to one question."""

    request_id: str
    status: Status
    letter: str | None
    """Of the chosen option; None unless it is answered."""
    probabilities: tuple[Probability, ...] | None
    """Of the options, after calibration; they add up to 1.  None where no model was asked, or
    where a person looks at the answer first."""
    prediction_set: tuple[str, ...] | None
    """Letters that hold the right one as often as the policy promises; None where the model was
    never calibrated, or no answer is shown."""
    confidence: Probability | None
    """Probability of the chosen option; None where no answer is shown."""
    reasons: tuple[GuardVerdict, ...]
    """What every guard said, in their order."""
    card: FixedText | None = None
    """Shown instead of an answer."""
    measured: MeasuredAccuracy | None = None
    """How often the model was right where it was measured; None where it never was: then a letter
    is the model's choice, and nothing says how often such a choice is right."""
    disclaimer: str
    release: str
    """What answered: the name of a release, or of a model."""


class AnswerRecord(Record):
    """One question, asked from the command line through the guards of an endpoint."""

    kind: Literal["answer"] = "answer"
    model: str
    """Its name."""
    stem: str
    options: tuple[str, ...]
    reply: Reply
    duration_s: float = Field(ge=0)
    """From the question to the answer, the model already open."""


class RequestRecord(Record):
    """What is kept of one request: numbers and codes, no text unless the policy says so."""

    request_id: str
    time: datetime
    """UTC."""
    caller: str | None
    """Name of the key; None on the loopback interface."""
    text_hmac: str
    """Keyed hash of the folded inquiry, 64 hex digits: equal questions are seen, none is read."""
    length: int
    """Characters."""
    options: int
    subject: str | None
    status: Status
    reasons: tuple[GuardVerdict, ...]
    chosen: int | None
    """Index of the likeliest option, shown or not; None where no model was asked."""
    probabilities: tuple[Probability, ...] | None
    release: str
    duration_s: float
    redacted: str | None = None
    """The redacted inquiry, where the policy keeps it."""


class ShadowAnswer(Record):
    """What a shadow made of one request, beside the model that answered it; no asker sees it."""

    request_id: str
    release: str
    """The shadow's."""
    outcome: ShadowOutcome
    chosen: int | None
    """Index of its likeliest option; None where it gave no answer."""
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
    """An answer that a person looks at before it is given."""

    request_id: str
    time: datetime
    """When it was asked, UTC."""
    stem: str
    """Redacted."""
    options: tuple[str, ...]
    """Redacted."""
    subject: str | None
    topic: str
    """Why it waits: a reason's code."""
    proposed: int | None
    """Index of the option that the model would give."""
    probabilities: tuple[Probability, ...] | None
    release: str
    state: ReviewState = "waiting"
    reviewer: str | None = None
    """Who holds it."""
    lease_until: datetime | None = None
    """Until when it is held, UTC."""
    wants_second: bool = False
    """Whether two reviewers look at it."""


class Decision(Record):
    """What a reviewer decides."""

    kind: DecisionKind
    """Give the model's answer; give another; give none."""
    chosen: int | None = Field(default=None, ge=0)
    """Index of the option that is given instead; with "edit" only."""
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
    """Made without seeing the first."""


class Reviewed(Record):
    """One item, what reviewers said of it, and what holds."""

    item: AnswerReviewItem
    opinions: tuple[ReviewerDecision, ...]
    final: Decision | None
    """None as long as it is not decided."""

    @property
    def answer(self) -> int | None:
        """Index of the option that is given in the end; None where none is, or not yet."""
        if self.final is None:
            return None
        return self.item.proposed if self.final.kind == "approve" else self.final.chosen


class Feedback(Record):
    """What an asker says of an answer."""

    request_id: str
    time: datetime
    helpful: bool | None = None
    """Thumb up or down."""
    corrected: int | None = Field(default=None, ge=0)
    """Index of the option that the asker holds to be right."""


class AuditVerified(Record):
    """An audit trail that is whole."""

    kind: Literal["audit"] = "audit"
    head: AuditHead
    anchored: int
    """Heads in the second place that it was held to."""
    since: int | None
    """Line from which on heads were noted; None where none was."""
    anchor: str
    """The second place."""


RESERVED = ("local", "operator", "endpoint")
"""What callers without a key, the command line and the endpoint itself are called."""


class ApiKey(Record):
    """A key to the endpoint; its text is shown once and kept as a hash."""

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
    """Shown this once; the store has its hash only."""


class KeyList(Record):
    """All keys, by age."""

    kind: Literal["keys"] = "keys"
    keys: tuple[ApiKey, ...]
    audit: AuditHead | None = None
    """Where the audit trail ends, to be noted elsewhere."""
