"""Write operations on the review queue: claim, release, decide, second opinions.

An item gets up to three opinions. The second is given without seeing the first; if the two differ,
the third decides. A claim is a lease: when it expires, the item waits again without any clean-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, not_, select, update

from medtune.core.errors import ConflictError, NotFoundError
from medtune.serving.schemas import (
    AnswerReviewItem,
    Decision,
    Reviewed,
    ReviewerDecision,
    ReviewState,
)
from medtune.serving.storage import audit_log
from medtune.serving.storage.database import AdvisoryLock, acquire_lock
from medtune.serving.storage.review_queries import (
    OLDEST_FIRST,
    build_item,
    find_reviewed,
    has_valid_lease,
    list_claimed,
    list_opinions,
    unclaimed,
)
from medtune.serving.storage.tables import opinions, reviews

ENDPOINT_ACTOR = "endpoint"
"""Actor of the endpoint itself in the audit trail."""


MAX_CLAIMED = 5
"""Most items that one reviewer may hold at once."""


def add_item(connection: Connection, now: datetime, new: AnswerReviewItem) -> None:
    """Insert a new item."""
    assert new.state == "waiting", "a new item is waiting"
    connection.execute(insert(reviews).values(**new.model_dump()))
    audit_log.append_audit_line(
        connection, now, ENDPOINT_ACTOR, "review.wait", new.request_id, {"topic": new.topic}
    )


def claim(
    connection: Connection, now: datetime, reviewer: str, lease_s: float, request_id: str | None
) -> AnswerReviewItem | None:
    """Claim an item for a reviewer: the given one, or the oldest that waits.

    Returns:
        The item; None if no id is given and no item waits.

    Raises:
        NotFoundError: The given item does not exist.
        ConflictError: It is decided, is claimed by another or has this reviewer's opinion, or the
            reviewer holds the most items allowed.
    """
    acquire_lock(connection, AdvisoryLock.CLAIM)
    holds = [one.request_id for one in list_claimed(connection, now, reviewer)]
    if len(holds) >= MAX_CLAIMED and request_id not in holds:
        raise ConflictError(
            f"{reviewer} holds {len(holds)} items",
            expected=f"at most {MAX_CLAIMED} at once",
            fix="decide one of them, or give it back",
        )
    if request_id is None:
        spoken = exists().where(
            opinions.c.request_id == reviews.c.request_id, opinions.c.reviewer == reviewer
        )
        query = select(reviews).where(unclaimed(now), not_(spoken)).order_by(*OLDEST_FIRST).limit(1)
        # Concurrent claims get different items without waiting for each other.
        row = connection.execute(query.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
    else:
        row = _lock_item(connection, request_id)
        _require_claimable(
            row, now, reviewer, list_opinions(connection, reviews.c.request_id == request_id)
        )
    until = now + timedelta(seconds=lease_s)
    _update_item(connection, row.request_id, reviewer=reviewer, lease_until=until)
    audit_log.append_audit_line(
        connection, now, reviewer, "review.claim", row.request_id, {"lease_s": float(lease_s)}
    )
    return build_item(row, now).model_copy(
        update={"state": "claimed", "reviewer": reviewer, "lease_until": until}
    )


def release(connection: Connection, now: datetime, request_id: str, reviewer: str) -> None:
    """Release a reviewer's item; its lease may have expired.

    Raises:
        NotFoundError: It does not exist.
        ConflictError: It is not this reviewer's.
    """
    row = _lock_item(connection, request_id)
    if row.reviewer != reviewer:
        raise _lease_error(row, now, reviewer)
    _update_item(connection, request_id, reviewer=None, lease_until=None)
    audit_log.append_audit_line(connection, now, reviewer, "review.release", request_id)


def decide(
    connection: Connection, now: datetime, request_id: str, reviewer: str, decision: Decision
) -> Reviewed:
    """Record a reviewer's opinion; repeating the same one changes nothing.

    Raises:
        NotFoundError: The item does not exist.
        ConflictError: It is not claimed by this reviewer, the reviewer gave another opinion before,
            or the decision is invalid for it.
    """
    row = _lock_item(connection, request_id)
    given = list_opinions(connection, reviews.c.request_id == request_id)
    before = next((o.decision for o in given if o.reviewer == reviewer), None)
    if before is None:
        _require_decidable(row, now, reviewer, decision)
        fields = decision.model_dump()
        number = len(given) + 1
        connection.execute(
            insert(opinions).values(
                request_id=request_id, number=number, reviewer=reviewer, time=now, **fields
            )
        )
        state = _next_state([*(o.decision for o in given), decision], row.wants_second)
        _update_item(connection, request_id, state=state, reviewer=None, lease_until=None)
        # Without the note: the trail is kept for longer than texts are.
        detail = {"kind": decision.kind, "chosen": decision.chosen, "number": number}
        audit_log.append_audit_line(
            connection, now, reviewer, "review.decide", request_id, {**detail, "state": state}
        )
    elif before != decision:
        raise ConflictError(
            f"{reviewer} gave another opinion on item {request_id} before",
            expected="one opinion of each reviewer",
            fix="ask for a second opinion",
        )
    found = find_reviewed(connection, now, request_id)
    assert found is not None
    return found


def request_second_opinion(
    connection: Connection, now: datetime, request_id: str, actor: str
) -> AnswerReviewItem:
    """Require a second opinion on an item; a decided one waits again.

    Raises:
        NotFoundError: It does not exist.
        ConflictError: It has two opinions already.
    """
    row = _lock_item(connection, request_id)
    given = list_opinions(connection, reviews.c.request_id == request_id)
    if len(given) > 1:
        raise ConflictError(
            f"item {request_id} has {len(given)} opinions", expected="fewer than two"
        )
    if not row.wants_second:
        state = _next_state([o.decision for o in given], wants_second=True)
        _update_item(connection, request_id, wants_second=True, state=state)
        audit_log.append_audit_line(connection, now, actor, "review.second", request_id)
    found = find_reviewed(connection, now, request_id)
    assert found is not None
    return found.item


def _require_claimable(
    row: Row[Any], now: datetime, reviewer: str, given: Sequence[ReviewerDecision]
) -> None:
    _require_undecided(row)
    if any(opinion.reviewer == reviewer for opinion in given):
        raise ConflictError(
            f"{reviewer} gave an opinion on item {row.request_id} before",
            expected="another reviewer for the next one",
        )
    if has_valid_lease(row, now) and row.reviewer != reviewer:
        raise _lease_error(row, now, reviewer)


def _require_decidable(row: Row[Any], now: datetime, reviewer: str, decision: Decision) -> None:
    _require_undecided(row)
    if row.reviewer != reviewer or not has_valid_lease(row, now):
        raise _lease_error(row, now, reviewer)
    if decision.kind == "approve" and row.proposed is None:
        raise ConflictError(
            f"item {row.request_id} has no proposal that could be approved",
            expected="an edit, or a rejection",
        )
    if decision.chosen is not None and decision.chosen >= len(row.options):
        raise ConflictError(
            f"item {row.request_id} has no option {decision.chosen}",
            expected=f"one of 0 to {len(row.options) - 1}",
        )


def _require_undecided(row: Row[Any]) -> None:
    if row.state == "decided":
        raise ConflictError(
            f"item {row.request_id} is decided",
            expected="one that waits",
            fix="ask for a second opinion",
        )


def _lease_error(row: Row[Any], now: datetime, reviewer: str) -> ConflictError:
    if has_valid_lease(row, now):
        found = f"item {row.request_id} is held by {row.reviewer} until {row.lease_until:%H:%M} UTC"
    else:
        found = f"item {row.request_id} is not held by {reviewer}, or no longer"
    return ConflictError(found, expected="the one who holds it", fix="claim it first")


def _next_state(decisions: Sequence[Decision], wants_second: bool) -> ReviewState:
    """Return the state of an item from its decisions, and whether two are required."""
    match [(d.kind, d.chosen) for d in decisions]:
        case []:
            return "waiting"
        case [_]:
            return "waiting" if wants_second else "decided"
        case [first, second]:
            return "decided" if first == second else "contested"
    return "decided"


def _lock_item(connection: Connection, request_id: str) -> Row[Any]:
    """Read an item, and lock its row for the transaction."""
    query = select(reviews).where(reviews.c.request_id == request_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise NotFoundError(f"no item {request_id} is under review", expected="a stored item")
    return row


def _update_item(connection: Connection, request_id: str, **values: object) -> None:
    connection.execute(update(reviews).where(reviews.c.request_id == request_id).values(**values))
