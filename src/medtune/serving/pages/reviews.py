"""Pages for reviewers: the queue and single items."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import ValidationError

from medtune.analysis.agreement import cohen_kappa
from medtune.core.errors import ConflictError
from medtune.core.records import LETTERS
from medtune.serving.api.answers import RequestId, visible_to
from medtune.serving.api.reviews import LEASE_S, redact_note
from medtune.serving.dependencies import StoreDep
from medtune.serving.errors import InvalidError
from medtune.serving.pages.page_request import PageRequest, ReviewPageRequest
from medtune.serving.pages.page_route import PageRoute
from medtune.serving.schemas import Decision, Reviewed, ReviewerDecision
from medtune.serving.storage.review_queue import MAX_CLAIMED
from medtune.serving.storage.store import Store

MAX_LISTED = 50
"""Most items on the list."""
MAX_NOTE_LENGTH = 2000
"""Most characters of a note."""
CONFIRMATIONS = {
    "decided": "Decided. The decision is shown with the question.",
    "second": "Your opinion is stored. A second reviewer will look at this item.",
    "contested": "Your opinion is stored. It differs from the first, so a third reviewer decides.",
    "released": "The item is released, and waits again.",
    "asked": "A second opinion is requested. Its reviewer does not see the first.",
    "nothing": "No item is waiting that you could claim.",
}
"""Confirmations, by the value of `done` in the address."""
router = APIRouter(prefix="/review", route_class=PageRoute)


@router.get("")
async def list_waiting(page: ReviewPageRequest, store: StoreDep, done: str = "") -> Response:
    """List the waiting items, the oldest first."""
    return await _queue_page(page, store, done=CONFIRMATIONS.get(done))


async def _queue_page(
    page: PageRequest, store: Store, error: Exception | None = None, done: str | None = None
) -> Response:
    found = await asyncio.to_thread(_load_queue, store, page.caller)
    return page.page_response(
        "review_list.html", error, done=done, lease_s=LEASE_S, max_claimed=MAX_CLAIMED, **found
    )


@router.post("/claim")
async def claim_oldest(page: ReviewPageRequest, store: StoreDep) -> Response:
    """Claim the oldest waiting item."""
    try:
        item = await asyncio.to_thread(store.reviews.claim, page.caller, LEASE_S)
    except ConflictError as error:
        return await _queue_page(page, store, error)
    return page.redirect(f"/review/{item.request_id}" if item else "/review?done=nothing")


@router.get("/{request_id}")
async def show_item(
    request_id: RequestId, page: ReviewPageRequest, store: StoreDep, done: str = ""
) -> Response:
    """Show an item."""
    return await _item_page(page, store, request_id, done=CONFIRMATIONS.get(done))


@router.post("/{request_id}/claim")
async def claim(request_id: RequestId, page: ReviewPageRequest, store: StoreDep) -> Response:
    """Claim an item."""
    return await _apply_action(
        page,
        store,
        request_id,
        lambda: store.reviews.claim(page.caller, LEASE_S, request_id),
        f"/{request_id}",
    )


@router.post("/{request_id}/decision")
async def decide(request_id: RequestId, page: ReviewPageRequest, store: StoreDep) -> Response:
    """Approve the model's answer, give another, or give none."""
    try:
        decision = redact_note(_parse_decision(page.form_text("decision"), page.form_text("note")))
        after = await asyncio.to_thread(store.reviews.decide, request_id, page.caller, decision)
    except (InvalidError, ConflictError) as error:
        return await _item_page(page, store, request_id, error=error)
    state = after.item.state
    return page.redirect(f"/review?done={state if state in CONFIRMATIONS else 'second'}")


@router.post("/{request_id}/release")
async def release(request_id: RequestId, page: ReviewPageRequest, store: StoreDep) -> Response:
    """Release a claimed item undecided."""
    return await _apply_action(
        page,
        store,
        request_id,
        lambda: store.reviews.release(request_id, page.caller),
        "?done=released",
    )


@router.post("/{request_id}/second")
async def request_second_opinion(
    request_id: RequestId, page: ReviewPageRequest, store: StoreDep
) -> Response:
    """Request a second opinion."""
    return await _apply_action(
        page,
        store,
        request_id,
        lambda: store.reviews.request_second_opinion(request_id, page.caller),
        f"/{request_id}?done=asked",
    )


async def _apply_action(
    page: PageRequest, store: Store, request_id: str, act: Callable[[], object], to: str
) -> Response:
    """Apply an action to an item; if it fails, show the item and the reason."""
    try:
        await asyncio.to_thread(act)
    except ConflictError as error:
        return await _item_page(page, store, request_id, error=error)
    return page.redirect(f"/review{to}")


async def _item_page(
    page: PageRequest,
    store: Store,
    request_id: str,
    *,
    done: str | None = None,
    error: Exception | None = None,
) -> Response:
    found = await asyncio.to_thread(store.reviews.get, request_id)
    conflict = isinstance(error, ConflictError)
    return page.page_response(
        "review_item.html",
        error,
        _conflict_reason(found, page.caller) if conflict else None,
        done=done,
        chosen=page.form_text("decision"),
        note=page.form_text("note"),
        max_length=MAX_NOTE_LENGTH,
        now=datetime.now(UTC),
        **_visible_values(found, page.caller),
    )


def _visible_values(found: Reviewed, caller: str) -> dict[str, Any]:
    """Return the template values that a reviewer may see."""
    own = next((o for o in found.opinions if o.reviewer == caller), None)
    told = visible_to(found, caller)
    return {
        "item": found.item,
        "mine": found.item.state == "claimed" and found.item.reviewer == caller,
        "decided": found.final is not None,
        "own": own,
        "opinions": told.opinions if told.final else (),
        "final": told.final,
        "second": len(found.opinions) < 2 and not found.item.wants_second,
    }


def _conflict_reason(found: Reviewed, caller: str) -> str | None:
    """Return why an action on an item failed, as a sentence; None if the error says it best."""
    item = found.item
    if any(opinion.reviewer == caller for opinion in found.opinions):
        return "You have given your opinion on this item."
    if found.final is not None:
        return "This item is decided."
    if item.state != "claimed":
        return "You do not hold this item, or no longer; claim it again, your note is kept."
    if item.reviewer != caller and item.lease_until is not None:
        return f"It is held by {item.reviewer} until {item.lease_until:%H:%M} UTC."
    return None


def _parse_decision(said: str, note: str) -> Decision:
    """Parse a decision: approve, reject, or the letter given instead.

    Raises:
        InvalidError: It is none of these, or the note is too long.
    """
    if len(note) > MAX_NOTE_LENGTH:
        raise InvalidError(f"The note has more than {MAX_NOTE_LENGTH:,} characters.")
    try:
        if len(said) == 1 and said in LETTERS:
            return Decision(kind="edit", chosen=LETTERS.index(said), note=note)
        return Decision.model_validate({"kind": said, "note": note})
    except ValidationError as error:
        raise InvalidError("Choose an answer.") from error


def _load_queue(store: Store, caller: str) -> dict[str, Any]:
    items = store.reviews.list_waiting(MAX_LISTED)
    # Only these can have an opinion, whose reviewer may not give the next one.
    again = [i.request_id for i in items if i.wants_second or i.state == "contested"]
    pairs = store.reviews.list_opinion_pairs()
    return {
        "items": items,
        "mine": store.reviews.list_claimed(caller),
        "given": {i for i in again if _has_opinion(store.reviews.find(i), caller)},
        "counts": store.requests.count(),
        "agreement": cohen_kappa(
            "first", "second", [(_decision_key(a), _decision_key(b)) for a, b in pairs]
        ),
        "now": datetime.now(UTC),
    }


def _has_opinion(found: Reviewed | None, caller: str) -> bool:
    return found is not None and any(opinion.reviewer == caller for opinion in found.opinions)


def _decision_key(opinion: ReviewerDecision) -> tuple[str, int | None]:
    return opinion.decision.kind, opinion.decision.chosen
