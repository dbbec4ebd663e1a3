"""The pages to review: what waits, one item, and what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import ValidationError

from medtune.analysis.agreement import agreement
from medtune.core.errors import ReviewError
from medtune.core.records import LETTERS
from medtune.serving.api.answers import RequestId, told_to
from medtune.serving.api.reviews import LEASE_S, without_persons
from medtune.serving.dependencies import Parts
from medtune.serving.pages.errors import InvalidError, PageError, PageRoute, sentence, trouble
from medtune.serving.pages.page_request import PageRequest, ReviewVisit
from medtune.serving.schemas import Decision, Reviewed, ReviewerDecision
from medtune.serving.storage.review_queue import MOST_HELD
from medtune.serving.storage.store import Store

LISTED = 50
"""Items on the list."""
NOTE = 2000
"""Characters of a note."""
DONE = {
    "decided": "Decided. The asker is told when they look at their question again.",
    "second": "Your opinion is kept. A second reviewer looks at this item now.",
    "contested": "Your opinion is kept. It differs from the first, so a third reviewer decides.",
    "released": "The item is given back, and waits again.",
    "asked": "A second opinion is asked for. Whoever gives it does not see the first.",
    "nothing": "Nothing waits that you could take.",
}
"""What is confirmed, by a word that stands in the address."""
router = APIRouter(prefix="/review", route_class=PageRoute)


@router.get("")
async def waiting(visit: ReviewVisit, parts: Parts, done: str = "") -> Response:
    """List what waits, the oldest first."""
    return await _list(visit, parts.kept(), done=DONE.get(done))


async def _list(
    visit: PageRequest, store: Store, fault: PageError | None = None, done: str | None = None
) -> Response:
    found = await asyncio.to_thread(_listed, store, visit.caller)
    status = 200 if fault is None else fault.status
    return visit.page(
        "review_list.html",
        status,
        done=done,
        trouble=fault,
        lease_s=LEASE_S,
        most_held=MOST_HELD,
        **found,
    )


@router.post("/claim")
async def claim_oldest(visit: ReviewVisit, parts: Parts) -> Response:
    """Take the oldest item that waits."""
    store = parts.kept()
    try:
        item = await asyncio.to_thread(store.claim, visit.caller, LEASE_S)
    except ReviewError as error:
        return await _list(visit, store, PageError(409, sentence(error.found)))
    return visit.to(f"/review/{item.request_id}" if item else "/review?done=nothing")


@router.get("/{request_id}")
async def one(request_id: RequestId, visit: ReviewVisit, parts: Parts, done: str = "") -> Response:
    """Show an item."""
    return await _item(visit, parts.kept(), request_id, done=DONE.get(done))


@router.post("/{request_id}/claim")
async def claim(request_id: RequestId, visit: ReviewVisit, parts: Parts) -> Response:
    """Take a certain item."""
    store = parts.kept()
    return await _try(
        visit, request_id, lambda: store.claim(visit.caller, LEASE_S, request_id), f"/{request_id}"
    )


@router.post("/{request_id}/decision")
async def decide(request_id: RequestId, visit: ReviewVisit, parts: Parts) -> Response:
    """Approve the model's answer, give another, or give none."""
    store = parts.kept()
    try:
        decision = without_persons(_decision(visit.text("decision"), visit.text("note")))
    except InvalidError as error:
        return await _item(visit, store, request_id, fault=trouble(error, parts))
    try:
        after = await asyncio.to_thread(store.decide, request_id, visit.caller, decision)
    except ReviewError as error:
        return await _item(visit, store, request_id, error=error)
    state = after.item.state
    return visit.to(f"/review?done={state if state in DONE else 'second'}")


@router.post("/{request_id}/release")
async def release(request_id: RequestId, visit: ReviewVisit, parts: Parts) -> Response:
    """Give an item back undecided."""
    store = parts.kept()
    return await _try(
        visit, request_id, lambda: store.release(request_id, visit.caller), "?done=released"
    )


@router.post("/{request_id}/second")
async def second(request_id: RequestId, visit: ReviewVisit, parts: Parts) -> Response:
    """Ask for a second opinion."""
    store = parts.kept()
    return await _try(
        visit,
        request_id,
        lambda: store.ask_second(request_id, visit.caller),
        f"/{request_id}?done=asked",
    )


async def _try(visit: PageRequest, request_id: str, act: Callable[[], object], to: str) -> Response:
    """Do something with an item; where that cannot be, show the item and say why."""
    try:
        await asyncio.to_thread(act)
    except ReviewError as error:
        return await _item(visit, visit.parts.kept(), request_id, error=error)
    return visit.to(f"/review{to}")


async def _item(
    visit: PageRequest,
    store: Store,
    request_id: str,
    *,
    done: str | None = None,
    error: ReviewError | None = None,
    fault: PageError | None = None,
) -> Response:
    found = await asyncio.to_thread(store.reviewed, request_id)
    if found is None:
        raise ReviewError("no such item is kept here, or no longer")
    if error is not None:
        fault = PageError(409, sentence(_why(found, visit.caller) or error.found))
    return visit.page(
        "review_item.html",
        200 if fault is None else fault.status,
        done=done,
        trouble=fault,
        chosen=visit.text("decision"),
        note=visit.text("note"),
        longest=NOTE,
        now=datetime.now(UTC),
        **_seen(found, visit.caller),
    )


def _seen(found: Reviewed, caller: str) -> dict[str, Any]:
    """Pick what a reviewer may see."""
    own = next((o for o in found.opinions if o.reviewer == caller), None)
    told = told_to(found, caller)
    assert told is not None, "there is an item"
    return {
        "item": found.item,
        "mine": found.item.state == "claimed" and found.item.reviewer == caller,
        "decided": found.final is not None,
        "own": own,
        "opinions": told.opinions if told.final else (),
        "final": told.final,
        "second": len(found.opinions) < 2 and not found.item.wants_second,
    }


def _why(found: Reviewed, caller: str) -> str | None:
    """Say why something could not be done with an item."""
    item = found.item
    if any(opinion.reviewer == caller for opinion in found.opinions):
        return "you have given your opinion on this item"
    if found.final is not None:
        return "this item is decided"
    if item.state != "claimed":
        return "you do not hold this item, or no longer; claim it again, what you wrote stays"
    if item.reviewer != caller and item.lease_until is not None:
        return f"it is held by {item.reviewer} until {item.lease_until:%H:%M} UTC"
    return None


def _decision(said: str, note: str) -> Decision:
    """Read a decision: approve, reject, or the letter that is given instead.

    Raises:
        InvalidError: It is none of these, or the note is too long.
    """
    if len(note) > NOTE:
        raise InvalidError(f"The note has more than {NOTE:,} characters.")
    try:
        if len(said) == 1 and said in LETTERS:
            return Decision(kind="edit", chosen=LETTERS.index(said), note=note)
        return Decision.model_validate({"kind": said, "note": note})
    except ValidationError as error:
        raise InvalidError("Choose what the asker is told.") from error


def _listed(store: Store, caller: str) -> dict[str, Any]:
    items = store.waiting(LISTED)
    # Only these can have an opinion, and whoever gave it takes no part in the next.
    again = [i.request_id for i in items if i.wants_second or i.state == "contested"]
    pairs = store.pairs()
    return {
        "items": items,
        "mine": store.held(caller),
        "given": {i for i in again if _spoke(store.reviewed(i), caller)},
        "counts": store.counts(),
        "agreement": agreement("first", "second", [(_said(a), _said(b)) for a, b in pairs]),
        "now": datetime.now(UTC),
    }


def _spoke(found: Reviewed | None, caller: str) -> bool:
    return found is not None and any(opinion.reviewer == caller for opinion in found.opinions)


def _said(opinion: ReviewerDecision) -> tuple[str, int | None]:
    return opinion.decision.kind, opinion.decision.chosen
