"""Request and response models of the API, besides `Reply`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS, normalize_option
from medtune.core.schemas.guardrails import Inquiry
from medtune.serving.schemas import Decision, Feedback, Reply, Reviewed

_SURROGATES = re.compile("[\ud800-\udfff]")
MAX_BATCH_QUESTIONS = 64
"""Most questions in one batch request."""
MAX_STEM_LENGTH, MAX_OPTION_LENGTH, MAX_SUBJECT_LENGTH = 20_000, 4000, 100
"""Most characters that are accepted; the policy may allow fewer, and its verdict says so."""
MAX_VALUES = 20_000
"""Most values in a body: checking each takes time of the event loop."""
MAX_FIELDS = 32
"""Most fields of one object."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"\S")]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def check_unicode(value: Any) -> Any:
    """Reject lone surrogates: JSON can contain one, UTF-8 cannot.

    Raises:
        ValueError: A text or a field name has one, or there are too many values.
    """
    waiting, seen = [value], 0  # no recursion: the caller controls the depth
    while waiting:
        seen += 1
        if seen + len(waiting) > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
        match waiting.pop():
            case str() as text:
                if not text.isascii() and _SURROGATES.search(text):
                    raise ValueError("a text has a lone surrogate, which is not a character")
            case dict() as fields:
                waiting += (*fields, *fields.values())
            case list() | tuple() as items:
                waiting += items
    return value


class RequestModel(BaseModel):
    """Base of all messages; unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_size(cls, said: Any) -> Any:
        # Each unknown field and each item may be a fault; thousands would take seconds.
        if isinstance(said, dict):
            if len(said) > MAX_FIELDS:
                raise ValueError(f"more than {MAX_FIELDS} fields")
            if any(
                isinstance(part, list) and len(part) > MAX_BATCH_QUESTIONS for part in said.values()
            ):
                raise ValueError(f"a list has more than {MAX_BATCH_QUESTIONS} items")
        return check_unicode(said)


class AnswerRequest(RequestModel):
    """One multiple-choice question."""

    stem: Annotated[Text, Field(max_length=MAX_STEM_LENGTH)]
    options: Annotated[
        tuple[Annotated[Text, Field(max_length=MAX_OPTION_LENGTH)], ...],
        Field(min_length=MIN_OPTIONS, max_length=MAX_OPTIONS),
    ]
    subject: Annotated[str | None, Field(max_length=MAX_SUBJECT_LENGTH)] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "stem": "Which vitamin is deficient in scurvy?",
                    "options": ["Vitamin A", "Vitamin C", "Vitamin D", "Vitamin K"],
                    "subject": "Biochemistry",
                }
            ]
        },
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        # Python's strip treats control characters as white space, the pattern above does not.
        if not all(text.strip() for text in (self.stem, *self.options)):
            raise ValueError("the stem or an option is empty")
        if any("\0" in text for text in (self.stem, *self.options, self.subject or "")):
            raise ValueError("a text has a NUL character")
        if len({normalize_option(option) for option in self.options}) < len(self.options):
            raise ValueError("two options are equal")
        return self

    def to_inquiry(self) -> Inquiry:
        """Return the inquiry for the guards."""
        return Inquiry(stem=self.stem, options=self.options, subject=self.subject)


class BatchRequest(RequestModel):
    """Several questions, answered together."""

    questions: Annotated[
        tuple[AnswerRequest, ...], Field(min_length=1, max_length=MAX_BATCH_QUESTIONS)
    ]


class BatchReply(RequestModel):
    """The replies to a batch, in order."""

    replies: tuple[Reply, ...]


class FeedbackRequest(RequestModel):
    """Feedback on an answer."""

    request_id: Id
    helpful: bool | None = None
    corrected: Annotated[
        str | None, Field(pattern="^[A-J]$", description="Letter considered right")
    ] = None

    def to_feedback(self) -> Feedback:
        """Return the feedback to store, given now."""
        corrected = None if self.corrected is None else LETTERS.index(self.corrected)
        return Feedback(
            request_id=self.request_id,
            time=datetime.now(UTC),
            helpful=self.helpful,
            corrected=corrected,
        )


class ClaimRequest(RequestModel):
    """The item to claim; the oldest waiting one by default."""

    request_id: Id | None = None


class DecisionRequest(RequestModel):
    """A reviewer's decision on a claimed item."""

    decision: Decision


class ReviewPage(RequestModel):
    """Items under review."""

    items: tuple[Reviewed, ...]


class Problem(RequestModel):
    """An error (RFC 9457, without a type)."""

    title: str
    status: int
    detail: str
    request_id: str | None = None
    faults: tuple[dict[str, Any], ...] = ()


class Health(RequestModel):
    """Whether the process lives."""

    status: Literal["ok"] = "ok"


class Readiness(RequestModel):
    """Whether questions can be answered now, and why not."""

    ready: bool
    release: str
    since: datetime
    faults: tuple[str, ...] = ()
