"""Routes for reviewers and administrators: the queue, decisions, the audit trail."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from medtune.core.errors import ReviewError
from medtune.core.schemas.audit import AuditLine
from medtune.guardrails.privacy.identifiers import redacted_text
from medtune.serving.api.answers import NOT_FOUND, PROBLEMS, RequestId, told_to
from medtune.serving.api.label_studio_export import tasks
from medtune.serving.api.request_models import ClaimRequest, DecisionRequest, ReviewPage
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.dependencies import Admin, AdmittedRoute, Credentials, Parts, Reviewer, admit
from medtune.serving.schemas import AnswerReviewItem, Decision, Reviewed

LEASE_S = 600.0
"""How long a reviewer holds an item."""
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "The item is another's, decided, or not held."}
}


def without_persons(decision: Decision) -> Decision:
    """Take out of a note what names a person: it is kept."""
    return decision.model_copy(update={"note": redacted_text(decision.note)})


def _is_admin(request: Request, parts: Parts, credentials: Credentials) -> bool:
    secret = credentials.credentials if credentials else None
    try:
        admit(request, parts, secret, "admin", cost=0)
    except DeniedError:
        return False
    return True


router = APIRouter(
    prefix="/v1/reviews",
    tags=["reviews"],
    responses={**PROBLEMS, **CONFLICT},
    route_class=AdmittedRoute,
)


@router.get("")
async def waiting(
    parts: Parts,
    caller: Reviewer,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> ReviewPage:
    """List what waits, the oldest first."""
    del caller
    items = await asyncio.to_thread(parts.kept().waiting, limit, offset)
    return ReviewPage(items=tuple(Reviewed(item=i, opinions=(), final=None) for i in items))


@router.post("/claim", responses={204: {"description": "Nothing waits."}}, response_model=None)
async def claim(asked: ClaimRequest, parts: Parts, caller: Reviewer) -> AnswerReviewItem | Response:
    """Take the oldest item that waits, or a certain one, for ten minutes."""
    store = parts.kept()
    item = await asyncio.to_thread(store.claim, caller, LEASE_S, asked.request_id)
    return item if item is not None else Response(status_code=204)


@router.post("/{request_id}/decision", responses=NOT_FOUND)
async def decide(
    request_id: RequestId, asked: DecisionRequest, parts: Parts, caller: Reviewer
) -> Reviewed:
    """Approve the model's answer, give another, or give none."""
    decision = without_persons(asked.decision)
    found = await asyncio.to_thread(parts.kept().decide, request_id, caller, decision)
    told = told_to(found, caller)
    assert told is not None, "it was decided a moment ago"
    return told


@router.post("/{request_id}/release", status_code=204, responses=NOT_FOUND)
async def release(request_id: RequestId, parts: Parts, caller: Reviewer) -> Response:
    """Give an item back undecided."""
    await asyncio.to_thread(parts.kept().release, request_id, caller)
    return Response(status_code=204)


@router.post("/{request_id}/second", status_code=204, responses=NOT_FOUND)
async def second(request_id: RequestId, parts: Parts, caller: Reviewer) -> Response:
    """Ask for a second opinion, which is given without sight of the first."""
    await asyncio.to_thread(parts.kept().ask_second, request_id, caller)
    return Response(status_code=204)


@router.get("/export", response_model=None)
async def export(
    parts: Parts, caller: Reviewer, everything: Annotated[bool, Depends(_is_admin)]
) -> list[dict[str, Any]]:
    """Write what was decided as Label Studio's tasks.

    A reviewer gets what may be told to them; an administrator gets all, and is blind to nothing.
    """
    found = await asyncio.to_thread(parts.kept().finals)
    return tasks([one for one in found if everything or told_to(one, caller) == one])


@router.get("/audit")
async def audit(
    parts: Parts, caller: Admin, after: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> list[AuditLine]:
    """Show the audit trail, 1,000 lines at a time."""
    del caller
    return await asyncio.to_thread(parts.kept().audit_lines, after, 1000)


@router.get("/{request_id}", responses=NOT_FOUND)
async def look(request_id: RequestId, parts: Parts, caller: Reviewer) -> Reviewed:
    """Show one item; what was said only to whoever cannot be asked for a blind opinion any more."""
    found = told_to(await asyncio.to_thread(parts.kept().reviewed, request_id), caller)
    if found is None:
        raise ReviewError(f"no item {request_id} under review")
    return found
