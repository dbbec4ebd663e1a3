"""Records of `medtune guard check`: what the guards say to each line of a file."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from medtune.core.records import Proportion, Provenance, Record
from medtune.core.schemas.guardrails import Action, ReasonCode


class TextSpan(Record):
    """Part of a text of a question."""

    field: str
    """stem, subject, or an option by its place from 0: options.0."""
    start: int = Field(ge=0)
    """First character, from 0."""
    end: int
    """Behind the last character."""
    kind: str
    """name, phone, email, record, birth, address, insurance, document, device or web."""


class QuestionLine(Record):
    """A line to check; fields that are not named here are left alone."""

    model_config = ConfigDict(extra="ignore")

    id: str
    stem: str
    options: tuple[str, ...] = ()
    subject: str | None = None
    topic: str = ""
    """What kind of line it is; lines of a topic are counted together."""
    expected: tuple[Action, ...] = ()
    """Actions that are right; empty where nothing is expected."""
    expected_spans: tuple[TextSpan, ...] | None = None
    """Identifiers that are there; None where nothing is expected."""

    @field_validator("id", mode="before")
    @classmethod
    def _write_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("expected", mode="before")
    @classmethod
    def _wrap_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_spans(self) -> Self:
        for span in self.expected_spans or ():
            if not span.start < span.end <= len(self.read_field(span.field)):
                place = f"{span.field} {span.start} to {span.end}"
                raise ValueError(f"expected_spans: {place} is not within its text")
        return self

    def read_field(self, name: str) -> str:
        """Return the text of a field of a span; empty where there is none."""
        if name.startswith("options."):
            place = name.removeprefix("options.")
            known = place.isdecimal() and int(place) < len(self.options)
            return self.options[int(place)] if known else ""
        return {"stem": self.stem, "subject": self.subject or ""}.get(name, "")


class RedactedQuestion(Record):
    """A question with marks in place of its identifiers."""

    stem: str
    options: tuple[str, ...]
    subject: str | None = None


class CheckedLine(Record):
    """What the guards say to one line."""

    id: str
    action: Action
    """The strictest of all guards'."""
    reasons: tuple[ReasonCode, ...]
    """In the order of the policy."""
    spans: tuple[TextSpan, ...]
    """Identifiers; empty for what is larger than the policy allows."""
    redacted: RedactedQuestion | None
    """The question with its identifiers marked; None for what is larger than the policy allows."""


class CheckedShare(Record):
    """How often the guards do what a file expects."""

    name: str
    """Topic, with the expected action, the kind of identifier, or that there is none."""
    right: Proportion
    """Wilson 95 %."""


class GuardCheckRecord(Record):
    """Summary of a checked file."""

    kind: Literal["guard check"] = "guard check"
    file: str
    policy: str
    """Version of the policy."""
    policy_hash: str
    learned_hash: str
    engines: tuple[str, ...] = ()
    """Engines that are not medtune's own, each with its version."""
    actions: dict[Action, int]
    """Lines by action."""
    shares: tuple[CheckedShare, ...]
    """Empty where the file expects nothing."""
    p50_ms: float
    """Median time of all guards for one line."""
    p95_ms: float
    provenance: Provenance
