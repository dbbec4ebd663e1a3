"""The OpenAI-compatible chat API (https://platform.openai.com/docs/api-reference/chat).

The question is read from the last user message, which has lettered options; anything else gets the
scope card. The guards see the other turns, the model does not.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS, normalize_option
from medtune.core.schemas.guardrails import Inquiry
from medtune.serving.api.request_models import MAX_OPTION_LENGTH, MAX_STEM_LENGTH, check_unicode
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
MAX_TEXT_LENGTH = MAX_STEM_LENGTH + MAX_OPTIONS * (MAX_OPTION_LENGTH + 16)
"""Most characters of one turn: the largest question, with its letters."""
MAX_CHAT_LENGTH = 2 * MAX_TEXT_LENGTH
"""Most characters of all turns together."""
MAX_TURNS = 100
UNSUPPORTED_FAULT = "unsupported_parameter"
"""Type of the fault, and OpenAI's error code, of a field that is not supported."""
_MIN_PROBABILITY = 1e-30
"""Least probability of which the logarithm is taken."""


Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]


def _unsupported(what: str) -> PydanticCustomError:
    return PydanticCustomError(
        UNSUPPORTED_FAULT,
        "{what} not supported: this endpoint answers questions with lettered options",
        {"what": what},
    )


_NOTHING: tuple[Any, ...] = (None, [], {}, "", 0)
_SUPPORTED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "n": ("n other than 1 is", (None, 1)),
    "tools": ("tools are", _NOTHING),
    "functions": ("tools are", _NOTHING),
    "response_format": ("response formats other than text are", (None, {"type": "text"})),
    "modalities": ("audio is", (None, ["text"])),
    "audio": ("audio is", (None, ["text"])),
}
"""Fields of a request that are supported with some values only."""


class ContentPart(BaseModel):
    """A part of a message; text only."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: Text | None = None
    refusal: Text | None = None

    @field_validator("type")
    @classmethod
    def _is_text(cls, said: str) -> str:
        if said not in ("text", "refusal"):
            known = {"image_url": "images are", "input_audio": "audio is", "file": "files are"}
            raise _unsupported(known.get(said, "parts other than text are"))
        return said


class ChatMessage(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        Annotated[
            Annotated[Text, Tag("text")]
            | Annotated[list[ContentPart], Field(max_length=MAX_TURNS), Tag("parts")],
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
            raise _unsupported("tools are")
        return said

    @property
    def plain_text(self) -> str:
        """The text of the message, without its structure."""
        if isinstance(self.content, list):
            said = [text for part in self.content for text in (part.text, part.refusal) if text]
            return "\n".join(said)
        return self.content or ""


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool | None = False


class ChatRequest(BaseModel):
    """A chat request; fields that are not listed here (temperature, ...) have no effect.

    Fields that would change the answer but are not supported are rejected by name.
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
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_TURNS), FailFast()]
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
        return check_unicode(given)

    @field_validator(*_SUPPORTED)
    @classmethod
    def _is_supported(cls, said: Any, field: ValidationInfo) -> Any:
        what, values = _SUPPORTED[str(field.field_name)]
        if said not in values:
            raise _unsupported(what)
        return said

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if sum(len(message.plain_text) for message in self.messages) > MAX_CHAT_LENGTH:
            raise ValueError(f"the messages have more than {MAX_CHAT_LENGTH:,} characters together")
        if any(len(message.plain_text) > MAX_TEXT_LENGTH for message in self.messages):
            raise ValueError(f"a message has more than {MAX_TEXT_LENGTH:,} characters")
        return self


def parse_chat(asked: ChatRequest) -> Inquiry:
    """Parse a chat into an inquiry; without options, the last user message is the stem.

    All other turns are included for the guards.
    """
    last = max((at for at, turn in enumerate(asked.messages) if turn.role == "user"), default=None)
    words = [turn.plain_text.replace("\0", " ") for turn in asked.messages]
    turns = [
        (turn.role, said)
        for at, (turn, said) in enumerate(zip(asked.messages, words, strict=True))
        if at != last and said.strip()
    ]
    return parse_question(words[last] if last is not None else "").model_copy(
        update={
            "earlier": tuple(parse_question(said) for role, said in turns if role == "user"),
            "around": tuple(_without_instructions(said) for role, said in turns if role != "user"),
        }
    )


def _without_instructions(text: str) -> str:
    """Remove sentences that ask for a letter, as exams do."""
    return "\n".join(part for part in _SENTENCE.split(text) if not _is_instruction(part.strip()))


def _is_instruction(line: str) -> bool:
    """Return whether a line asks for a letter without naming one."""
    return bool(_INSTRUCTION.match(line)) and len(set(_LETTERED.findall(line))) != 1


def parse_question(text: str) -> Inquiry:
    """Split a text into stem and lettered options, on separate lines or inline."""
    lines = [line for line in text.splitlines() if line.strip()]
    for found in (_find_option_lines(lines), _find_inline_options(text)):
        if found is None:
            continue
        stem, options, rest = found
        texts = {normalize_option(option) for option in options}
        if len(options) >= MIN_OPTIONS and stem and len(texts) == len(options):
            # Text after the options is kept for the guards, unless it asks for a letter.
            more = [line for line in rest if not _is_instruction(line.strip())]
            return Inquiry(stem="\n".join([stem, *more]), options=tuple(options))
    return Inquiry(stem=text)


def _find_option_lines(lines: list[str]) -> tuple[str, list[str], list[str]] | None:
    """Find consecutive lines that begin with A, B, C ..., in linear time."""
    marked = [_parse_option_line(line) for line in lines]
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and marked[end][0] == end - start:
            end += 1
        if end - start >= MIN_OPTIONS:
            options = [text for _, text in marked[start:end]]
            return "\n".join(lines[:start]).strip(), options, lines[end:]
        start = max(end, start + 1)  # no line of the run begins with another A
    return None


def _parse_option_line(line: str) -> tuple[int | None, str]:
    """Split a line into its letter's index and the option text."""
    head = _OPTION.match(line)
    text = line[head.end() :].strip() if head else ""
    return (LETTERS.index(head[1].upper()), text) if head and text else (None, "")


def _find_inline_options(text: str) -> tuple[str, list[str], list[str]] | None:
    """Find inline options, as in "... A) this B) that", in linear time."""
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
        # Each option ends where the next mark begins.
        stops = [*(starts[i] for i in run[1:]), len(text)]
        spans = list(zip((ends[i] for i in run), stops, strict=True))
        if len(run) < MIN_OPTIONS or any(start >= end for start, end in spans):
            continue
        options = [text[start:end].strip() for start, end in spans]
        last, *rest = options.pop().splitlines()
        return text[: starts[at]].strip(), [*options, last.strip()], rest
    return None


def build_completion(asked: ChatRequest, inquiry: Inquiry, reply: Reply) -> dict[str, Any]:
    """Build a chat completion; the field `medtune` has the whole reply."""
    text, citations = _completion_text(inquiry, reply)
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        **_completion_header(reply, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": message | ({"annotations": citations} if citations else {}),
                "finish_reason": _finish_reason(reply),
                "logprobs": _logprobs(asked, reply, text),
            }
        ],
        "usage": count_usage(asked, text),
        "medtune": reply.model_dump(mode="json"),
    }


def stream_completion(asked: ChatRequest, inquiry: Inquiry, reply: Reply) -> Iterator[str]:
    """Yield a reply as a stream: content, finish reason, and usage if requested."""
    text, citations = _completion_text(inquiry, reply)
    head = _completion_header(reply, "chat.completion.chunk")
    first = {
        "index": 0,
        "delta": {"role": "assistant", "content": text}
        | ({"annotations": citations} if citations else {}),
        "finish_reason": None,
        "logprobs": _logprobs(asked, reply, text),
    }
    last = {"index": 0, "delta": {}, "finish_reason": _finish_reason(reply), "logprobs": None}
    for choice in (first, last):
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    if asked.stream_options and asked.stream_options.include_usage:
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': count_usage(asked, text)})}\n\n"
    yield "data: [DONE]\n\n"


def count_usage(asked: ChatRequest, text: str) -> dict[str, Any]:
    """Count words and punctuation, since the model may have no tokenizer."""
    prompt = sum(len(_WORD.findall(turn.plain_text)) for turn in asked.messages)
    completion = len(_WORD.findall(text))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "counted": "words and signs",
    }


def openai_error(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Build an error in OpenAI's form; without a code, it has the one of the status, if any."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    code = code or ERROR_CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


ERROR_CODES = {401: "invalid_api_key", 403: "insufficient_permissions", 429: "rate_limit_exceeded"}
"""OpenAI's error codes."""
OPENAI_PATHS = ("/v1/chat/completions", "/v1/models")
"""Paths whose errors have OpenAI's form."""


def list_openai_models(release: str, since: datetime) -> dict[str, Any]:
    """List the only model."""
    created = int(since.timestamp())
    one = {"id": release, "object": "model", "created": created, "owned_by": "medtune"}
    return {"object": "list", "data": [one]}


def _completion_header(reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": reply.release,
        "disclaimer": reply.disclaimer,
    }


def _finish_reason(reply: Reply) -> str:
    return "content_filter" if reply.status == "refused" else "stop"


def _completion_text(inquiry: Inquiry, reply: Reply) -> tuple[str, list[dict[str, Any]]]:
    """Return the text of an answer, and its citations as OpenAI's annotations.

    Passages have no address: their URL is a URN with their id.
    """
    text, citations = _answer_text(inquiry, reply), []
    evidence = reply.evidence or () if reply.letter is not None else ()
    for number, passage in enumerate(evidence, 1):
        text += "\n" if number > 1 else "\n\n"
        start = len(text)
        text += f"[{number}] {passage.source}"
        cited = {
            "start_index": start,
            "end_index": len(text),
            "title": f"{passage.source}, {passage.id}",
            "url": f"urn:medtune:passage:{quote(passage.id, safe='')}",
        }
        citations.append({"type": "url_citation", "url_citation": cited})
    return f"{text}\n\n{reply.disclaimer}", citations


def _answer_text(inquiry: Inquiry, reply: Reply) -> str:
    if reply.letter is not None:
        return f"{reply.letter}. {inquiry.options[LETTERS.index(reply.letter)]}"
    if reply.card is not None:
        return f"{reply.card.title}\n\n{reply.card.text}"
    if reply.status == "pending_review":
        return (
            "A reviewer has to approve this answer first: GET /v1/answer/"
            f"{reply.request_id} returns its status."
        )
    if reply.likely_letters:
        return f"Not sure enough to answer; most likely among {', '.join(reply.likely_letters)}."
    if reply.status == "refused":
        return "Not answered: the question contains instructions to the model, or is too long."
    return "Not sure enough to answer."


def _logprobs(asked: ChatRequest, reply: Reply, text: str) -> dict[str, Any] | None:
    """Return the options' probabilities as those of the first token, a letter."""
    if not asked.logprobs or reply.letter is None or reply.probabilities is None:
        return None
    rows = sorted(
        zip(LETTERS, reply.probabilities, strict=False), key=lambda row: row[1], reverse=True
    )
    tops = [_token_logprob(letter, probability) for letter, probability in rows]
    first = {**tops[0], "top_logprobs": tops[: asked.top_logprobs or 0]}
    rest = {**_token_logprob(text[1:], 1.0), "top_logprobs": []}
    return {"content": [first, rest], "refusal": None}


def _token_logprob(text: str, probability: float) -> dict[str, Any]:
    logprob = math.log(max(probability, _MIN_PROBABILITY))
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
