"""Extract inquiries from invalid requests, so that a crisis in one still gets its card.

A client that sends one option, a tool, or half of an emoji gets a validation error, but the person
who typed the text may need help all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse

from medtune.core.records import MAX_OPTIONS
from medtune.core.schemas.guardrails import Inquiry
from medtune.serving.api import openai_compat
from medtune.serving.api.request_models import (
    MAX_BATCH_QUESTIONS,
    MAX_OPTION_LENGTH,
    MAX_VALUES,
    BatchReply,
)
from medtune.serving.schemas import Reply

_BATCH = "questions"
_OTHERS = ("system", "developer", "assistant", "tool", "function")
"""Roles in a chat that are not the asker's."""


def extract_inquiries(path: str, body: dict[str, Any]) -> list[Inquiry]:
    """Extract the inquiries from the body of an invalid request: any JSON object."""
    if path in openai_compat.OPENAI_PATHS:
        return [_chat_inquiry(body.get("messages"))]
    questions = body.get(_BATCH)
    if isinstance(questions, list):
        asked = questions[:MAX_BATCH_QUESTIONS]
        return [_free_inquiry(one, openai_compat.MAX_TEXT_LENGTH // len(asked)) for one in asked]
    return [_free_inquiry(body)]


def build_response(
    path: str, body: dict[str, Any], asked: Sequence[Inquiry], replies: Sequence[Reply]
) -> Response:
    """Build the response to an invalid request, in the form of its route."""
    if path in openai_compat.OPENAI_PATHS:
        turn = {"role": "user", "content": asked[0].stem[: openai_compat.MAX_TEXT_LENGTH]}
        stream = body.get("stream") is True
        chat = openai_compat.ChatRequest.model_validate(
            {"model": "", "messages": [turn], "stream": stream}
        )
        if stream:
            lines = openai_compat.stream_completion(chat, asked[0], replies[0])
            return StreamingResponse(lines, media_type="text/event-stream")
        return JSONResponse(openai_compat.build_completion(chat, asked[0], replies[0]))
    if isinstance(body.get(_BATCH), list):
        return JSONResponse(BatchReply(replies=tuple(replies)).model_dump(mode="json"))
    return JSONResponse(replies[0].model_dump(mode="json"))


def _free_inquiry(said: Any, most: int = openai_compat.MAX_TEXT_LENGTH) -> Inquiry:
    """Build an inquiry: texts in lists are the options, all others the stem."""
    fields = said.values() if isinstance(said, dict) else [said]
    stem = [
        text for field in fields if not isinstance(field, list) for text in _collect_texts(field)
    ]
    options = [
        text for field in fields if isinstance(field, list) for text in _collect_texts(field)
    ]
    stem += options[MAX_OPTIONS:]
    shown = tuple(option[:MAX_OPTION_LENGTH] for option in options[:MAX_OPTIONS])
    return Inquiry(stem=_cut_middle("\n".join(stem), most), options=shown)


def _cut_middle(text: str, most: int) -> str:
    """Cut the middle out of a text that is too long; the guards would not read it either."""
    return text if len(text) <= most else f"{text[: most // 2]}\n{text[-(most // 2) :]}"


def _chat_inquiry(turns: Any) -> Inquiry:
    if not isinstance(turns, list):
        return _free_inquiry(turns)
    own = [
        turn.get("content") if isinstance(turn, dict) else turn
        for turn in turns[-openai_compat.MAX_TURNS :]
        if not (isinstance(turn, dict) and turn.get("role") in _OTHERS)
    ]
    share = openai_compat.MAX_TEXT_LENGTH // max(1, len(own))
    texts = [_cut_middle("\n".join(_collect_texts(one)), share) for one in own] or [""]
    read = [openai_compat.parse_question(text) for text in texts]
    return read[-1].model_copy(update={"earlier": tuple(read[:-1])})


def _collect_texts(said: Any) -> list[str]:
    """Collect the texts in a JSON value, in order; surrogates and NULs are replaced."""
    found, waiting, seen = [], [said], 0  # no recursion: the caller controls the depth
    while waiting and seen < MAX_VALUES:
        seen += 1
        match waiting.pop():
            case str() as text:
                found.append(text.encode("utf-8", "replace").decode().replace("\0", " "))
            case dict() as fields:
                waiting += reversed(fields.values())
            case list() as items:
                waiting += reversed(items)
    return found
