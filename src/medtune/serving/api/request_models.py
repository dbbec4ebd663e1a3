"""What comes in over HTTP, and what goes out beside `Reply`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from medtune.core.records import MAX_OPTIONS, MIN_OPTIONS, normalized_option
from medtune.core.schemas.guardrails import Inquiry
from medtune.serving.schemas import Decision, Reply, Reviewed

_HALVES = re.compile("[\ud800-\udfff]")
MOST_AT_ONCE = 64
"""Questions in one batch request."""
LONGEST_STEM, LONGEST_OPTION, LONGEST_SUBJECT = 20_000, 4000, 100
"""Characters that are taken; the policy may allow fewer, and says so in its verdict."""
MOST_VALUES = 20_000
"""Numbers, texts and lists of a body that are looked at: each takes the event loop's time."""
MOST_FIELDS = 32
"""Fields of one object that are looked at; with more of them none is."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"\S")]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def unicode_only(value: Any) -> Any:
    """Refuse halves of a surrogate pair: JSON can hold one alone, and UTF-8 cannot.

    Raises:
        ValueError: A text has one, or the name of a field has; or there are too many of them.
    """
    waiting, seen = [value], 0  # no recursion: whoever asks says how deep it is
    while waiting:
        seen += 1
        if seen + len(waiting) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values")
        match waiting.pop():
            case str() as text:
                if not text.isascii() and _HALVES.search(text):
                    raise ValueError("a text has half of a surrogate pair, which is no character")
            case dict() as fields:
                waiting += (*fields, *fields.values())
            case list() | tuple() as items:
                waiting += items
    return value


class RequestModel(BaseModel):
    """Base of all messages: closed to fields that are not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _fit(cls, said: Any) -> Any:
        # Each field that is not known, and each item, may be a fault: thousands take seconds.
        if isinstance(said, dict):
            if len(said) > MOST_FIELDS:
                raise ValueError(f"more than {MOST_FIELDS} fields")
            if any(isinstance(part, list) and len(part) > MOST_AT_ONCE for part in said.values()):
                raise ValueError(f"a list has more than {MOST_AT_ONCE} items")
        return unicode_only(said)


class AnswerRequest(RequestModel):
    """One multiple-choice question."""

    stem: Annotated[Text, Field(max_length=LONGEST_STEM)]
    options: Annotated[
        tuple[Annotated[Text, Field(max_length=LONGEST_OPTION)], ...],
        Field(min_length=MIN_OPTIONS, max_length=MAX_OPTIONS),
    ]
    subject: Annotated[str | None, Field(max_length=LONGEST_SUBJECT)] = None

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
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
        # Control characters are blanks to Python and none to the pattern above.
        if not all(text.strip() for text in (self.stem, *self.options)):
            raise ValueError("the stem or an option is empty")
        if any("\0" in text for text in (self.stem, *self.options, self.subject or "")):
            raise ValueError("a text has a NUL character")
        if len({normalized_option(option) for option in self.options}) < len(self.options):
            raise ValueError("two options are equal")
        return self

    def inquiry(self) -> Inquiry:
        """Make what the guards look at."""
        return Inquiry(stem=self.stem, options=self.options, subject=self.subject)


class BatchRequest(RequestModel):
    """Some questions, answered together."""

    questions: Annotated[tuple[AnswerRequest, ...], Field(min_length=1, max_length=MOST_AT_ONCE)]


class BatchReply(RequestModel):
    """Their answers, in their order."""

    replies: tuple[Reply, ...]


class FeedbackRequest(RequestModel):
    """What an asker says of an answer."""

    request_id: Id
    helpful: bool | None = None
    corrected: Annotated[
        str | None, Field(pattern="^[A-J]$", description="Letter held to be right")
    ] = None


class ClaimRequest(RequestModel):
    """Which item a reviewer takes; the oldest that waits if none is named."""

    request_id: Id | None = None


class DecisionRequest(RequestModel):
    """A reviewer's decision on an item that he holds."""

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
    """Whether questions can be answered now, and if not, why."""

    ready: bool
    release: str
    since: datetime
    faults: tuple[str, ...] = ()
