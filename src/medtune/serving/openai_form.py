"""The endpoint in OpenAI's form, so that any client of theirs can ask it.

https://platform.openai.com/docs/api-reference/chat: a chat in, a completion out.  A question is
what stands in the last user message with lettered options; everything else gets the scope card.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medtune.core.guard import Inquiry
from medtune.core.records import LETTERS, MIN_OPTIONS, normalized_option
from medtune.core.served import Reply
from medtune.serving.wire import unicode_only

_OPTION = re.compile(r"^\s*[(\[]?([A-Ja-j])\s*[.):\]]\s*(\S.*?)\s*$")
_INLINE = re.compile(r"(?:(?<=\s)|^)[(\[]?([A-Ja-j])[.):\]]\s+")
_INSTRUCTION = re.compile(
    r"^(?:please )?(?:answer|respond|reply|choose|select|give|state|output)\b.{0,80}"
    r"\b(?:letter|option|answer)s?\b.{0,60}$",
    re.IGNORECASE,
)
_LEAST = 1e-30
"""Probability below which the logarithm is that of this."""


class Part(BaseModel):
    """A piece of a message; other kinds than text are left out."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def words(self) -> str:
        """Its text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class ChatRequest(BaseModel):
    """A chat; what is not named here (temperature, ...) changes nothing."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "model": "medtune",
                    "messages": [
                        {
                            "role": "user",
                            "content": "Which vitamin is deficient in scurvy?\nA. Vitamin A\n"
                            "B. Vitamin C\nC. Vitamin D\nD. Vitamin K",
                        }
                    ],
                }
            ]
        },
    )
    model: str = Field(max_length=500)
    messages: list[ChatMessage] = Field(min_length=1, max_length=100)
    stream: bool | None = False
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=None, ge=0, le=200)

    @model_validator(mode="before")
    @classmethod
    def _unicode(cls, given: Any) -> Any:
        return unicode_only(given)


def inquiry(asked: ChatRequest) -> Inquiry:
    """Find the question in a chat; without one, the whole message is what was asked."""
    said = [message.words for message in asked.messages if message.role == "user"]
    return parsed(said[-1].replace("\0", " ") if said else "")


def parsed(text: str) -> Inquiry:
    """Part a text into stem and lettered options, on lines of their own or in one."""
    lines = [line for line in text.splitlines() if line.strip()]
    for found in (_on_lines(lines), _in_one(text)):
        if found is None:
            continue
        stem, options, rest = found
        texts = {normalized_option(option) for option in options}
        if len(options) >= MIN_OPTIONS and stem and len(texts) == len(options):
            # What follows the options is for the guards to see, unless it asks for a letter.
            more = [line for line in rest if not _INSTRUCTION.match(line.strip())]
            return Inquiry(stem="\n".join([stem, *more]), options=tuple(options))
    return Inquiry(stem=text)


def _on_lines(lines: list[str]) -> tuple[str, list[str], list[str]] | None:
    """Find a run of lines that begin with A, B, C ..."""
    for start, line in enumerate(lines):
        first = _OPTION.match(line)
        if not first or first[1].upper() != "A":
            continue
        options: list[str] = []
        for at in range(start, len(lines)):
            match = _OPTION.match(lines[at])
            if not match or match[1].upper() != LETTERS[len(options) :][:1]:
                break
            options.append(match[2])
        if len(options) >= MIN_OPTIONS:
            return "\n".join(lines[:start]).strip(), options, lines[start + len(options) :]
    return None


def _in_one(text: str) -> tuple[str, list[str], list[str]] | None:
    """Find letters in one line: "... A) this B) that"."""
    marks = list(_INLINE.finditer(text))
    for at, mark in enumerate(marks):
        if mark[1].upper() != "A":
            continue
        run = [mark]
        for other in marks[at + 1 :]:
            if len(run) < len(LETTERS) and other[1].upper() == LETTERS[len(run)]:
                run.append(other)
        ends = [other.start() for other in run[1:]] + [len(text)]
        options = [text[one.end() : end].strip() for one, end in zip(run, ends, strict=True)]
        first, *rest = options.pop().splitlines() or [""]
        if options and all(options) and first:
            return text[: mark.start()].strip(), [*options, first.strip()], rest
    return None


def completion(asked: ChatRequest, inquiry: Inquiry, reply: Reply) -> dict[str, Any]:
    """Write a reply as a completion; all of it stands in the field `medtune` as well."""
    text = _text(inquiry, reply)
    return {
        **_head(reply, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": _finish(reply),
                "logprobs": _logprobs(asked, reply, text),
            }
        ],
        "medtune": reply.model_dump(mode="json"),
    }


def chunks(asked: ChatRequest, inquiry: Inquiry, reply: Reply) -> Iterator[str]:
    """Write a reply as a stream: one chunk with everything, one that ends it."""
    text = _text(inquiry, reply)
    head = _head(reply, "chat.completion.chunk")
    first = {
        "index": 0,
        "delta": {"role": "assistant", "content": text},
        "finish_reason": None,
        "logprobs": _logprobs(asked, reply, text),
    }
    last = {"index": 0, "delta": {}, "finish_reason": _finish(reply), "logprobs": None}
    for choice in (first, last):
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"


def models(release: str, since: datetime) -> dict[str, Any]:
    """List the one model that there is."""
    created = int(since.timestamp())
    one = {"id": release, "object": "model", "created": created, "owned_by": "medtune"}
    return {"object": "list", "data": [one]}


def _head(reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": reply.release,
    }


def _finish(reply: Reply) -> str:
    return "content_filter" if reply.status == "refused" else "stop"


def _text(inquiry: Inquiry, reply: Reply) -> str:
    if reply.letter is not None:
        return f"{reply.letter}. {inquiry.options[LETTERS.index(reply.letter)]}"
    if reply.card is not None:
        return f"{reply.card.title}\n\n{reply.card.text}"
    if reply.status == "pending_review":
        return (
            "A reviewer looks at this answer first: GET /v1/answer/"
            f"{reply.request_id} tells what became of it."
        )
    if reply.prediction_set:
        return f"Not sure enough to answer; it is among {', '.join(reply.prediction_set)}."
    if reply.status == "refused":
        return "This was not answered: the question tries to give orders, or is too large."
    return "Not sure enough to answer."


def _logprobs(asked: ChatRequest, reply: Reply, text: str) -> dict[str, Any] | None:
    """Show the options' probabilities as those of the first token, a letter."""
    if not asked.logprobs or reply.letter is None or reply.probabilities is None:
        return None
    rows = sorted(
        zip(LETTERS, reply.probabilities, strict=False), key=lambda row: row[1], reverse=True
    )
    tops = [_token(letter, probability) for letter, probability in rows]
    first = {**tops[0], "top_logprobs": tops[: asked.top_logprobs or 0]}
    rest = {**_token(text[1:], 1.0), "top_logprobs": []}
    return {"content": [first, rest], "refusal": None}


def _token(text: str, probability: float) -> dict[str, Any]:
    logprob = math.log(max(probability, _LEAST))
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
