"""Answers that wait for a person: who holds them, what was said of them, what holds.

Of one item up to three people give an opinion.  The second gives it without seeing the first; where
the two differ, the third decides.  Whoever holds an item holds it for a while: after that it waits
again, and needs nobody to notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, not_, select, update

from medtune.core.errors import ReviewError
from medtune.serving.schemas import (
    AnswerReviewItem,
    Decision,
    Reviewed,
    ReviewerDecision,
    ReviewState,
)
from medtune.serving.storage import audit_log
from medtune.serving.storage.database import AdvisoryLock, take_turn
from medtune.serving.storage.review_queries import AGE, free, held, is_held, item, one, opinions_on
from medtune.serving.storage.tables import opinions, reviews

ENDPOINT = "endpoint"
"""Acts where no person does."""


MOST_HELD = 5
"""Items that one reviewer may hold at once: the others are for others."""


def put(connection: Connection, now: datetime, new: AnswerReviewItem) -> None:
    """Add an item that nobody has seen."""
    assert new.state == "waiting", "an item begins by waiting"
    connection.execute(insert(reviews).values(**new.model_dump()))
    audit_log.append(connection, now, ENDPOINT, "review.wait", new.request_id, {"topic": new.topic})


def claim(
    connection: Connection, now: datetime, reviewer: str, lease_s: float, request_id: str | None
) -> AnswerReviewItem | None:
    """Have a reviewer hold an item.

    Returns:
        The item; None where no certain one is asked for, and none waits.

    Raises:
        ReviewError: A certain one is not there, decided, another's, or has this one's opinion; or
            the reviewer holds as many as one may.
    """
    take_turn(connection, AdvisoryLock.CLAIM)
    holds = [one.request_id for one in held(connection, now, reviewer)]
    if len(holds) >= MOST_HELD and request_id not in holds:
        raise ReviewError(
            f"{reviewer} holds {len(holds)} items",
            expected=f"at most {MOST_HELD} at once",
            fix="decide one of them, or give it back",
        )
    if request_id is None:
        spoken = exists().where(
            opinions.c.request_id == reviews.c.request_id, opinions.c.reviewer == reviewer
        )
        query = select(reviews).where(free(now), not_(spoken)).order_by(*AGE).limit(1)
        # Two who ask at once get two items, and neither waits for the other.
        row = connection.execute(query.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
    else:
        row = _row(connection, request_id)
        _require_claimable(
            row, now, reviewer, opinions_on(connection, reviews.c.request_id == request_id)
        )
    until = now + timedelta(seconds=lease_s)
    _set(connection, row.request_id, reviewer=reviewer, lease_until=until)
    audit_log.append(
        connection, now, reviewer, "review.claim", row.request_id, {"lease_s": float(lease_s)}
    )
    return item(row, now).model_copy(
        update={"state": "claimed", "reviewer": reviewer, "lease_until": until}
    )


def release(connection: Connection, now: datetime, request_id: str, reviewer: str) -> None:
    """Have a reviewer let go of an item; one whose time has run out may be let go of, too.

    Raises:
        ReviewError: It is not there, or not this reviewer's.
    """
    row = _row(connection, request_id)
    if row.reviewer != reviewer:
        raise _not_held(row, now, reviewer)
    _set(connection, request_id, reviewer=None, lease_until=None)
    audit_log.append(connection, now, reviewer, "review.release", request_id)


def decide(
    connection: Connection, now: datetime, request_id: str, reviewer: str, decision: Decision
) -> Reviewed:
    """Take a reviewer's opinion; the same one again changes nothing.

    Raises:
        ReviewError: The item is not there or not held by this reviewer, the opinion was given
            before and is another, or it names what is not there.
    """
    row = _row(connection, request_id)
    given = opinions_on(connection, reviews.c.request_id == request_id)
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
        state = _state([*(o.decision for o in given), decision], row.wants_second)
        _set(connection, request_id, state=state, reviewer=None, lease_until=None)
        # The note is a text, and the trail is kept for longer than texts are.
        detail = {"kind": decision.kind, "chosen": decision.chosen, "number": number}
        audit_log.append(
            connection, now, reviewer, "review.decide", request_id, {**detail, "state": state}
        )
    elif before != decision:
        raise ReviewError(
            f"{reviewer} gave another opinion on item {request_id} before",
            expected="one opinion of each reviewer",
            fix="ask for a second opinion",
        )
    found = one(connection, now, request_id)
    assert found is not None
    return found


def ask_second(
    connection: Connection, now: datetime, request_id: str, actor: str
) -> AnswerReviewItem:
    """Have two reviewers look at an item; one that is decided waits again.

    Raises:
        ReviewError: It is not there, or two have given their opinion.
    """
    row = _row(connection, request_id)
    given = opinions_on(connection, reviews.c.request_id == request_id)
    if len(given) > 1:
        raise ReviewError(f"item {request_id} has {len(given)} opinions", expected="fewer than two")
    if not row.wants_second:
        state = _state([o.decision for o in given], wants_second=True)
        _set(connection, request_id, wants_second=True, state=state)
        audit_log.append(connection, now, actor, "review.second", request_id)
    found = one(connection, now, request_id)
    assert found is not None
    return found.item


def _require_claimable(
    row: Row[Any], now: datetime, reviewer: str, given: Sequence[ReviewerDecision]
) -> None:
    _require_undecided(row)
    if any(opinion.reviewer == reviewer for opinion in given):
        raise ReviewError(
            f"{reviewer} gave an opinion on item {row.request_id} before",
            expected="another reviewer for the next one",
        )
    if is_held(row, now) and row.reviewer != reviewer:
        raise _not_held(row, now, reviewer)


def _require_decidable(row: Row[Any], now: datetime, reviewer: str, decision: Decision) -> None:
    _require_undecided(row)
    if row.reviewer != reviewer or not is_held(row, now):
        raise _not_held(row, now, reviewer)
    if decision.kind == "approve" and row.proposed is None:
        raise ReviewError(
            f"item {row.request_id} has no proposal that could be approved",
            expected="an edit, or a rejection",
        )
    if decision.chosen is not None and decision.chosen >= len(row.options):
        raise ReviewError(
            f"item {row.request_id} has no option {decision.chosen}",
            expected=f"one of 0 to {len(row.options) - 1}",
        )


def _require_undecided(row: Row[Any]) -> None:
    if row.state == "decided":
        raise ReviewError(
            f"item {row.request_id} is decided",
            expected="one that waits",
            fix="ask for a second opinion",
        )


def _not_held(row: Row[Any], now: datetime, reviewer: str) -> ReviewError:
    if is_held(row, now):
        found = f"item {row.request_id} is held by {row.reviewer} until {row.lease_until:%H:%M} UTC"
    else:
        found = f"item {row.request_id} is not held by {reviewer}, or no longer"
    return ReviewError(found, expected="the one who holds it", fix="claim it first")


def _state(decisions: Sequence[Decision], wants_second: bool) -> ReviewState:
    """Tell where an item stands by what was said of it, and whether two shall say it."""
    match [(d.kind, d.chosen) for d in decisions]:
        case []:
            return "waiting"
        case [_]:
            return "waiting" if wants_second else "decided"
        case [first, second]:
            return "decided" if first == second else "contested"
    return "decided"


def _row(connection: Connection, request_id: str) -> Row[Any]:
    """Read an item, and keep others from changing it meanwhile."""
    query = select(reviews).where(reviews.c.request_id == request_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise ReviewError(f"no item {request_id} is under review", expected="one that is kept")
    return row


def _set(connection: Connection, request_id: str, **values: object) -> None:
    connection.execute(update(reviews).where(reviews.c.request_id == request_id).values(**values))
