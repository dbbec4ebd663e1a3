"""API routes for callers: questions, results, feedback, health and metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from medtune.core.errors import NotFoundError
from medtune.core.records import LETTERS
from medtune.guardrails.answer_guards import is_decided_by_evidence
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
    BatchAdmission,
    QuestionAdmission,
    ServicesDep,
    StoreDep,
    admit_request,
)
from medtune.serving.inference.fixed_texts import CARDS, DISCLAIMER
from medtune.serving.schemas import Reply, RequestRecord, Reviewed
from medtune.serving.storage.store import Store

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not valid JSON."},
    401: {"model": Problem, "description": "A key is needed, or the key is unknown."},
    403: {"model": Problem, "description": "The key lacks the role."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "The request does not match the schema."},
    429: {"model": Problem, "description": "Too many questions; try again after Retry-After."},
    503: {"model": Problem, "description": "The model or the database is unavailable."},
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is nothing with this id."}
}
router = APIRouter(responses=PROBLEMS, route_class=AdmittedRoute)
RequestId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


@router.post("/v1/answer", tags=["answers"])
async def answer(asked: AnswerRequest, services: ServicesDep, admitted: QuestionAdmission) -> Reply:
    """Answer one question."""
    (reply,) = await services.engine.answer([asked.to_inquiry()], *admitted)
    return reply


@router.post("/v1/answer/batch", tags=["answers"])
async def answer_batch(
    asked: BatchRequest, request: Request, services: ServicesDep, admitted: BatchAdmission
) -> BatchReply:
    """Answer up to 64 questions, all or none; a crisis among them gets its card anyway."""
    if admitted.rejection is None:
        admitted = await admit_request(request, "ask", len(asked.questions))
    inquiries = [one.to_inquiry() for one in asked.questions]
    return BatchReply(replies=tuple(await services.engine.answer(inquiries, *admitted)))


@router.get("/v1/answer/{request_id}", tags=["answers"], responses=NOT_FOUND)
async def get_answer(request_id: RequestId, caller: Asker, store: StoreDep) -> Reply:
    """Return the current reply to a question, reviewed or not.

    A reviewer's decision is shown to the caller of the question, and to the reviewers who gave
    their opinion on it.
    """
    return reply_from_record(*await asyncio.to_thread(load_request, store, request_id, caller))


@router.post("/v1/feedback", tags=["answers"], status_code=204, responses=NOT_FOUND)
async def post_feedback(said: FeedbackRequest, caller: Asker, store: StoreDep) -> Response:
    """Store whether an answer helped, and which letter is right."""
    del caller
    await asyncio.to_thread(store.requests.set_feedback, said.to_feedback())
    return Response(status_code=204)


@router.post(
    "/v1/chat/completions", tags=["openai"], response_model=None, responses={200: {"content": {}}}
)
async def chat(
    asked: openai_compat.ChatRequest, services: ServicesDep, admitted: QuestionAdmission
) -> Response:
    """Answer a chat whose last user message is a question with lettered options."""
    inquiry = await services.run_in_admission_thread(openai_compat.parse_chat, asked)
    (reply,) = await services.engine.answer([inquiry], *admitted)
    if asked.stream:
        return StreamingResponse(
            openai_compat.stream_completion(asked, inquiry, reply), media_type="text/event-stream"
        )
    return JSONResponse(openai_compat.build_completion(asked, inquiry, reply))


@router.get("/v1/models", tags=["openai"], response_model=None)
async def models(services: ServicesDep, caller: Asker) -> dict[str, Any]:
    """List the model, in OpenAI's form."""
    del caller
    return openai_compat.list_openai_models(services.engine.predictor.release, services.since)


@router.get("/healthz", tags=["operation"])
async def get_health() -> Health:
    """Report that the process is alive."""
    return Health()


@router.get(
    "/readyz", tags=["operation"], responses={503: {"model": Readiness, "description": "Not ready"}}
)
async def get_readiness(services: ServicesDep, response: Response) -> Readiness:
    """Report whether questions can be answered now."""
    faults = await services.readiness_faults()
    response.status_code = 503 if faults else 200
    return Readiness(
        ready=not faults,
        release=services.engine.predictor.release,
        since=services.since,
        faults=tuple(faults),
    )


@router.get("/metrics", tags=["operation"], response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Return the metrics for Prometheus."""
    return Response(services.metrics.render_prometheus(), media_type="text/plain; version=0.0.4")


def load_request(
    store: Store, request_id: str, caller: str
) -> tuple[RequestRecord, Reviewed | None]:
    """Return a request, and its review: all for the asker, `visible_to` for others.

    Raises:
        NotFoundError: The request is not stored.
    """
    entry = store.requests.find(request_id)
    if entry is None:
        raise NotFoundError(f"no request {request_id}", expected="a request that is still stored")
    reviewed = store.reviews.find(request_id)
    if reviewed is not None and caller != entry.caller:
        reviewed = visible_to(reviewed, caller)
    return entry, reviewed


def visible_to(reviewed: Reviewed, caller: str) -> Reviewed:
    """Return a review without opinions that the caller must not see yet; a second one is blind.

    All is visible once the item is decided, to those who gave an opinion, and to everybody if there
    are at least two. Otherwise only the caller's own opinion is.
    """
    own = tuple(o for o in reviewed.opinions if o.reviewer == caller)
    if reviewed.final is not None and (own or len(reviewed.opinions) > 1):
        return reviewed
    return reviewed.model_copy(update={"opinions": own, "final": None})


def reply_from_record(entry: RequestRecord, reviewed: Reviewed | None) -> Reply:
    """Build the current reply to a stored request, without its text."""
    status, letter, card = entry.status, None, None
    if status == "answered" and entry.chosen is not None:
        letter = LETTERS[entry.chosen]
    if reviewed is not None and reviewed.final is not None:
        chosen = reviewed.answer
        status = "refused" if chosen is None else "answered"
        letter = None if chosen is None else LETTERS[chosen]
    if status == "refused":
        card = next((CARDS[v.card] for v in entry.reasons if v.card), None)
    cited = is_decided_by_evidence(entry.reasons)
    shown = entry.probabilities if entry.status == "answered" and not cited else None
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
