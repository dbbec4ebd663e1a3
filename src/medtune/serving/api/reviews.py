"""API routes for reviewers and administrators: queue, decisions, export, audit trail."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from medtune.core.schemas.audit import AuditLine
from medtune.guardrails.privacy.identifiers import redact_text
from medtune.serving.api.answers import NOT_FOUND, PROBLEMS, RequestId, visible_to
from medtune.serving.api.label_studio_export import build_review_tasks
from medtune.serving.api.request_models import ClaimRequest, DecisionRequest, ReviewPage
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.dependencies import (
    Admin,
    AdmittedRoute,
    Credentials,
    Reviewer,
    ServicesDep,
    StoreDep,
    admit,
)
from medtune.serving.schemas import AnswerReviewItem, Decision, Reviewed

LEASE_S = 600.0
"""Seconds for which a reviewer holds an item."""
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "The item is claimed by another, decided, or not claimed."}
}


def redact_note(decision: Decision) -> Decision:
    """Redact personal identifiers in a decision's note before it is stored."""
    return decision.model_copy(update={"note": redact_text(decision.note)})


def _is_admin(request: Request, services: ServicesDep, credentials: Credentials) -> bool:
    secret = credentials.credentials if credentials else None
    try:
        admit(request, services, secret, "admin", cost=0)
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
async def list_waiting(
    caller: Reviewer,
    store: StoreDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> ReviewPage:
    """List the waiting items, the oldest first."""
    del caller
    items = await asyncio.to_thread(store.reviews.list_waiting, limit, offset)
    return ReviewPage(items=tuple(Reviewed(item=i, opinions=(), final=None) for i in items))


@router.post("/claim", responses={204: {"description": "Nothing waits."}}, response_model=None)
async def claim(
    asked: ClaimRequest, caller: Reviewer, store: StoreDep
) -> AnswerReviewItem | Response:
    """Claim the oldest waiting item, or a given one, for ten minutes."""
    item = await asyncio.to_thread(store.reviews.claim, caller, LEASE_S, asked.request_id)
    return item if item is not None else Response(status_code=204)


@router.post("/{request_id}/decision", responses=NOT_FOUND)
async def decide(
    request_id: RequestId, asked: DecisionRequest, caller: Reviewer, store: StoreDep
) -> Reviewed:
    """Approve the model's answer, give another, or give none."""
    decision = redact_note(asked.decision)
    found = await asyncio.to_thread(store.reviews.decide, request_id, caller, decision)
    return visible_to(found, caller)


@router.post("/{request_id}/release", status_code=204, responses=NOT_FOUND)
async def release(request_id: RequestId, caller: Reviewer, store: StoreDep) -> Response:
    """Release a claimed item undecided."""
    await asyncio.to_thread(store.reviews.release, request_id, caller)
    return Response(status_code=204)


@router.post("/{request_id}/second", status_code=204, responses=NOT_FOUND)
async def request_second_opinion(
    request_id: RequestId, caller: Reviewer, store: StoreDep
) -> Response:
    """Request a second opinion, which is given without seeing the first."""
    await asyncio.to_thread(store.reviews.request_second_opinion, request_id, caller)
    return Response(status_code=204)


@router.get("/export", response_model=None)
async def export_reviews(
    caller: Reviewer, store: StoreDep, everything: Annotated[bool, Depends(_is_admin)]
) -> list[dict[str, Any]]:
    """Export decided items as Label Studio tasks.

    A reviewer gets what is visible to them, an administrator everything.
    """
    found = await asyncio.to_thread(store.reviews.list_decided)
    return build_review_tasks(
        [one for one in found if everything or visible_to(one, caller) == one]
    )


@router.get("/audit")
async def list_audit_lines(
    caller: Admin, store: StoreDep, after: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> list[AuditLine]:
    """Return the audit log, 1,000 lines at a time."""
    del caller
    return await asyncio.to_thread(store.audit.list_lines, after, 1000)


@router.get("/{request_id}", responses=NOT_FOUND)
async def get_review(request_id: RequestId, caller: Reviewer, store: StoreDep) -> Reviewed:
    """Return one item; opinions are hidden from whoever may still give a blind one."""
    return visible_to(await asyncio.to_thread(store.reviews.get, request_id), caller)
