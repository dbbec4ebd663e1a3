"""Routes for askers: questions, their fate, feedback, health."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from medtune.core.errors import ReviewError
from medtune.core.records import LETTERS
from medtune.serving.api import openai_compat
from medtune.serving.api.request_models import (
    AnswerRequest,
    BatchReply,
    BatchRequest,
    FeedbackRequest,
    Health,
    Problem,
    Readiness,
)
from medtune.serving.dependencies import (
    AdmittedRoute,
    Asker,
    BatchQuestioner,
    Parts,
    Questioner,
    admission,
)
from medtune.serving.inference.fixed_texts import CARDS, DISCLAIMER
from medtune.serving.schemas import Feedback, Reply, RequestRecord, Reviewed

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is no JSON."},
    401: {"model": Problem, "description": "A key is needed, or it is not known."},
    403: {"model": Problem, "description": "The key has a lesser role."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "The request is not as the schema says."},
    429: {"model": Problem, "description": "Too many questions; come again after Retry-After."},
    503: {"model": Problem, "description": "Model or database cannot be used now."},
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is nothing of that id."}
}
router = APIRouter(responses=PROBLEMS, route_class=AdmittedRoute)
RequestId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


@router.post("/v1/answer", tags=["answers"])
async def answer(asked: AnswerRequest, parts: Parts, admitted: Questioner) -> Reply:
    """Answer one question."""
    (reply,) = await parts.engine.answer([asked.inquiry()], *admitted)
    return reply


@router.post("/v1/answer/batch", tags=["answers"])
async def answer_batch(
    asked: BatchRequest, request: Request, parts: Parts, admitted: BatchQuestioner
) -> BatchReply:
    """Answer up to 64 questions, all or none of them; a crisis among them gets its card anyway."""
    if admitted.late is None:
        admitted = await admission(request, "ask", len(asked.questions))
    inquiries = [one.inquiry() for one in asked.questions]
    return BatchReply(replies=tuple(await parts.engine.answer(inquiries, *admitted)))


@router.get("/v1/answer/{request_id}", tags=["answers"], responses=NOT_FOUND)
async def fate(request_id: RequestId, parts: Parts, caller: Asker) -> Reply:
    """Tell what became of a question: whether a reviewer has decided.

    What a review decided is told to whoever asked, and to reviewers who had their say on it.
    """
    store = parts.kept()
    entry = await asyncio.to_thread(store.entry, request_id)
    if entry is None:
        raise ReviewError(f"no request {request_id}", expected="one that is still kept")
    reviewed = await asyncio.to_thread(store.reviewed, request_id)
    return settled(entry, told_of(entry, reviewed, caller))


@router.post("/v1/feedback", tags=["answers"], status_code=204, responses=NOT_FOUND)
async def feedback(said: FeedbackRequest, parts: Parts, caller: Asker) -> Response:
    """Say whether an answer helped, and which letter is right."""
    del caller
    corrected = None if said.corrected is None else LETTERS.index(said.corrected)
    given = Feedback(
        request_id=said.request_id,
        time=datetime.now(UTC),
        helpful=said.helpful,
        corrected=corrected,
    )
    await asyncio.to_thread(parts.kept().give_feedback, given)
    return Response(status_code=204)


@router.post(
    "/v1/chat/completions", tags=["openai"], response_model=None, responses={200: {"content": {}}}
)
async def chat(asked: openai_compat.ChatRequest, parts: Parts, admitted: Questioner) -> Response:
    """Answer a chat whose last user message is a question with lettered options."""
    inquiry = await parts.at_door(openai_compat.inquiry, asked)
    (reply,) = await parts.engine.answer([inquiry], *admitted)
    if asked.stream:
        return StreamingResponse(
            openai_compat.chunks(asked, inquiry, reply), media_type="text/event-stream"
        )
    return JSONResponse(openai_compat.completion(asked, inquiry, reply))


@router.get("/v1/models", tags=["openai"], response_model=None)
async def models(parts: Parts, caller: Asker) -> dict[str, Any]:
    """List what answers, in OpenAI's form."""
    del caller
    return openai_compat.models(parts.engine.mind.release, parts.since)


@router.get("/healthz", tags=["operation"])
async def healthy() -> Health:
    """Tell that the process lives."""
    return Health()


@router.get(
    "/readyz", tags=["operation"], responses={503: {"model": Readiness, "description": "Not now."}}
)
async def ready(parts: Parts, response: Response) -> Readiness:
    """Tell whether questions can be answered now."""
    faults = await parts.faults()
    response.status_code = 503 if faults else 200
    return Readiness(
        ready=not faults,
        release=parts.engine.mind.release,
        since=parts.since,
        faults=tuple(faults),
    )


@router.get("/metrics", tags=["operation"], response_class=Response)
async def metrics(parts: Parts) -> Response:
    """Show counts and times to Prometheus."""
    return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4")


def told_of(entry: RequestRecord, reviewed: Reviewed | None, caller: str) -> Reviewed | None:
    """Leave out of a request's review what its asker may know and others not yet."""
    return reviewed if caller == entry.caller else told_to(reviewed, caller)


def told_to(reviewed: Reviewed | None, caller: str) -> Reviewed | None:
    """Leave out of an item what somebody must not know who may still be asked for an opinion.

    That is everybody until they gave theirs, or until two have given one and it is decided.
    """
    if reviewed is None:
        return None
    own = tuple(o for o in reviewed.opinions if o.reviewer == caller)
    if reviewed.final is not None and (own or len(reviewed.opinions) > 1):
        return reviewed
    return reviewed.model_copy(update={"opinions": own, "final": None})


def settled(entry: RequestRecord, reviewed: Reviewed | None) -> Reply:
    """Show a kept request as its asker may see it now."""
    status, letter, card = entry.status, None, None
    if status == "answered" and entry.chosen is not None:
        letter = LETTERS[entry.chosen]
    if reviewed is not None and reviewed.final is not None:
        chosen = reviewed.answer
        status = "refused" if chosen is None else "answered"
        letter = None if chosen is None else LETTERS[chosen]
    if status == "refused":
        card = next((CARDS[v.card] for v in entry.reasons if v.card), None)
    shown = entry.probabilities if entry.status == "answered" else None
    return Reply(
        request_id=entry.request_id,
        status=status,
        letter=letter,
        probabilities=shown,
        prediction_set=None,
        confidence=max(shown) if shown else None,
        reasons=entry.reasons,
        card=card,
        disclaimer=DISCLAIMER,
        release=entry.release,
    )
