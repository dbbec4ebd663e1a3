"""The endpoint in OpenAI's form, so that any client of theirs can ask it.

https://platform.openai.com/docs/api-reference/chat: a chat in, a completion out.  A question is
what stands in the last user message with lettered options; everything else gets the scope card.
Guards see the other turns, no model is asked them.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS, normalized_option
from medtune.core.schemas.guardrails import Inquiry
from medtune.serving.api.request_models import LONGEST_OPTION, LONGEST_STEM, unicode_only
from medtune.serving.schemas import Reply

_OPTION = re.compile(r"\s*[(\[]?([A-Ja-j])\s*[.):\]]")
_INLINE = re.compile(r"(?:(?<=\s)|^)[(\[]?([A-Ja-j])[.):\]]\s+")
_INSTRUCTION = re.compile(
    r"^(?:please )?(?:answer|respond|reply|choose|select|give|state|output)\b.{0,80}"
    r"\b(?:letter|option|answer)s?\b.{0,60}$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_LETTERED = re.compile(r"\b[B-J]\b")
_WORD = re.compile(r"\w+|[^\w\s]")
LONGEST_TEXT = LONGEST_STEM + MAX_OPTIONS * (LONGEST_OPTION + 16)
"""Characters of one turn: the largest question, with its letters."""
LONGEST_CHAT = 2 * LONGEST_TEXT
"""Characters of all turns together."""
MOST_TURNS = 100
_LEAST = 1e-30
"""Probability below which the logarithm is that of this."""


Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


def _refused(what: str) -> ValueError:
    return ValueError(
        f"{what} not supported: this endpoint answers questions with lettered options"
    )


class ContentPart(BaseModel):
    """A piece of a message; text only."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: Text | None = None
    refusal: Text | None = None

    @field_validator("type")
    @classmethod
    def _is_text(cls, said: str) -> str:
        if said not in ("text", "refusal"):
            known = {"image_url": "images are", "input_audio": "audio is", "file": "files are"}
            raise _refused(known.get(said, "parts other than text are"))
        return said


class ChatMessage(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        Annotated[
            Annotated[Text, Tag("text")]
            | Annotated[list[ContentPart], Field(max_length=MOST_TURNS), Tag("parts")],
            Discriminator(lambda said: "parts" if isinstance(said, list) else "text"),
        ]
        | None
    ) = None
    tool_calls: Any = None
    function_call: Any = None

    @field_validator("tool_calls", "function_call")
    @classmethod
    def _no_tools(cls, said: Any) -> Any:
        if said:
            raise _refused("tools are")
        return said

    @property
    def words(self) -> str:
        """Its text."""
        if isinstance(self.content, list):
            said = [text for part in self.content for text in (part.text, part.refusal) if text]
            return "\n".join(said)
        return self.content or ""


class StreamOptions(BaseModel):
    """How a stream ends."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool | None = False


class ChatRequest(BaseModel):
    """A chat; what is not named here (temperature, ...) changes nothing.

    What would change the answer and cannot be done is refused by name.
    """

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
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_TURNS), FailFast()]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    tools: Any = None
    functions: Any = None
    response_format: Any = None
    modalities: Any = None
    audio: Any = None
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=None, ge=0, le=200)

    @model_validator(mode="before")
    @classmethod
    def _unicode(cls, given: Any) -> Any:
        return unicode_only(given)

    @field_validator("n")
    @classmethod
    def _one(cls, said: int | None) -> int | None:
        if said not in (None, 1):
            raise _refused("n other than 1 is")
        return said

    @field_validator("tools", "functions")
    @classmethod
    def _no_tools(cls, said: Any) -> Any:
        if said:
            raise _refused("tools are")
        return said

    @field_validator("response_format")
    @classmethod
    def _plain(cls, said: Any) -> Any:
        if said is not None and said != {"type": "text"}:
            raise _refused("response formats other than text are")
        return said

    @field_validator("modalities", "audio")
    @classmethod
    def _silent(cls, said: Any) -> Any:
        if said not in (None, ["text"]):
            raise _refused("audio is")
        return said

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum(len(message.words) for message in self.messages) > LONGEST_CHAT:
            raise ValueError(f"the messages have more than {LONGEST_CHAT:,} characters together")
        if any(len(message.words) > LONGEST_TEXT for message in self.messages):
            raise ValueError(f"a message has more than {LONGEST_TEXT:,} characters")
        return self


def inquiry(asked: ChatRequest) -> Inquiry:
    """Find the question in a chat; without one, the whole message is what was asked.

    It is the last message of the user.  All other turns go along for the guards.
    """
    last = max((at for at, turn in enumerate(asked.messages) if turn.role == "user"), default=None)
    words = [turn.words.replace("\0", " ") for turn in asked.messages]
    turns = [
        (turn.role, said)
        for at, (turn, said) in enumerate(zip(asked.messages, words, strict=True))
        if at != last and said.strip()
    ]
    return parsed(words[last] if last is not None else "").model_copy(
        update={
            "earlier": tuple(parsed(said) for role, said in turns if role == "user"),
            "around": tuple(_without_instructions(said) for role, said in turns if role != "user"),
        }
    )


def _without_instructions(text: str) -> str:
    """Leave out what asks for a letter, as every exam does."""
    return "\n".join(part for part in _SENTENCE.split(text) if not _is_instruction(part.strip()))


def _is_instruction(line: str) -> bool:
    """Tell whether a line asks for a letter, and does not say which."""
    return bool(_INSTRUCTION.match(line)) and len(set(_LETTERED.findall(line))) != 1


def parsed(text: str) -> Inquiry:
    """ContentPart a text into stem and lettered options, on lines of their own or in one."""
    lines = [line for line in text.splitlines() if line.strip()]
    for found in (_on_lines(lines), _in_one(text)):
        if found is None:
            continue
        stem, options, rest = found
        texts = {normalized_option(option) for option in options}
        if len(options) >= MIN_OPTIONS and stem and len(texts) == len(options):
            # What follows the options is for the guards to see, unless it asks for a letter.
            more = [line for line in rest if not _is_instruction(line.strip())]
            return Inquiry(stem="\n".join([stem, *more]), options=tuple(options))
    return Inquiry(stem=text)


def _on_lines(lines: list[str]) -> tuple[str, list[str], list[str]] | None:
    """Find a run of lines that begin with A, B, C ...; every line is read once."""
    marked = [_marked(line) for line in lines]
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and marked[end][0] == end - start:
            end += 1
        if end - start >= MIN_OPTIONS:
            options = [text for _, text in marked[start:end]]
            return "\n".join(lines[:start]).strip(), options, lines[end:]
        start = max(end, start + 1)  # what the run passed over begins with no A
    return None


def _marked(line: str) -> tuple[int | None, str]:
    """ContentPart a line into the place of its letter and the option behind it."""
    head = _OPTION.match(line)
    text = line[head.end() :].strip() if head else ""
    return (LETTERS.index(head[1].upper()), text) if head and text else (None, "")


def _in_one(text: str) -> tuple[str, list[str], list[str]] | None:
    """Find letters in one line: "... A) this B) that"; every mark is looked at once."""
    starts, ends, places = [], [], []
    for mark in _INLINE.finditer(text):
        starts.append(mark.start())
        ends.append(mark.end())
        places.append(LETTERS.index(mark[1].upper()))
    nearest: dict[int, int] = {}
    following: list[int | None] = [None] * len(places)
    for at in reversed(range(len(places))):
        following[at] = nearest.get(places[at] + 1)
        nearest[places[at]] = at
    for at, place in enumerate(places):
        if place != 0:
            continue
        run, other = [at], following[at]
        while other is not None:
            run.append(other)
            other = following[other]
        # Behind a mark stands a blank, or an option.
        stops = [*(starts[i] for i in run[1:]), len(text)]
        spans = list(zip((ends[i] for i in run), stops, strict=True))
        if len(run) < MIN_OPTIONS or any(start >= end for start, end in spans):
            continue
        options = [text[start:end].strip() for start, end in spans]
        last, *rest = options.pop().splitlines()
        return text[: starts[at]].strip(), [*options, last.strip()], rest
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
        "usage": usage(asked, text),
        "medtune": reply.model_dump(mode="json"),
    }


def chunks(asked: ChatRequest, inquiry: Inquiry, reply: Reply) -> Iterator[str]:
    """Write a reply as a stream: one chunk with everything, one that ends it, usage if wanted."""
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
    if asked.stream_options and asked.stream_options.include_usage:
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage(asked, text)})}\n\n"
    yield "data: [DONE]\n\n"


def usage(asked: ChatRequest, text: str) -> dict[str, Any]:
    """Count words and signs of punctuation: no tokenizer is asked, and a model may have others."""
    prompt = sum(len(_WORD.findall(turn.words)) for turn in asked.messages)
    completion = len(_WORD.findall(text))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "counted": "words and signs",
    }


def failure(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Write an error as OpenAI's clients read it.

    Args:
        status: Of HTTP.
        message: For the asker.
        param: Which part of the request is at fault.
        code: A word for programs; None takes that of the status, where it has one.
    """
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    code = code or CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


CODES = {401: "invalid_api_key", 403: "insufficient_permissions", 429: "rate_limit_exceeded"}
"""OpenAI's own words."""
PATHS = ("/v1/chat/completions", "/v1/models")
"""Where errors have OpenAI's form."""


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
        "disclaimer": reply.disclaimer,
    }


def _finish(reply: Reply) -> str:
    return "content_filter" if reply.status == "refused" else "stop"


def _text(inquiry: Inquiry, reply: Reply) -> str:
    return f"{_answer(inquiry, reply)}\n\n{reply.disclaimer}"


def _answer(inquiry: Inquiry, reply: Reply) -> str:
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
