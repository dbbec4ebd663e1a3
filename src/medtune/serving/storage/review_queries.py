"""Read queries on review items and opinions."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from medtune.serving.schemas import AnswerReviewItem, Decision, Reviewed, ReviewerDecision
from medtune.serving.storage.tables import opinions, reviews

OLDEST_FIRST = (reviews.c.time, reviews.c.request_id)
"""The oldest first, with a fixed order among items of the same time."""
_UNDECIDED = ("waiting", "contested")


def unclaimed(now: datetime) -> ColumnElement[bool]:
    """Return the condition for undecided items without a valid lease."""
    nobody = or_(reviews.c.lease_until.is_(None), reviews.c.lease_until <= now)
    return and_(reviews.c.state.in_(_UNDECIDED), nobody)


def has_valid_lease(row: Row[Any], now: datetime) -> bool:
    """Return whether an item has a lease that has not expired."""
    return row.lease_until is not None and now < row.lease_until


def build_item(row: Row[Any], now: datetime) -> AnswerReviewItem:
    """Build a review item from a row. The state is "claimed" while the lease is valid."""
    held = (
        {"state": "claimed"}
        if has_valid_lease(row, now)
        else {"reviewer": None, "lease_until": None}
    )
    return AnswerReviewItem(**(row._asdict() | held))


def list_waiting(
    connection: Connection, now: datetime, limit: int, offset: int
) -> list[AnswerReviewItem]:
    """List undecided items without a valid lease, the oldest first."""
    query = (
        select(reviews).where(unclaimed(now)).order_by(*OLDEST_FIRST).limit(limit).offset(offset)
    )
    return [build_item(row, now) for row in connection.execute(query)]


def list_claimed(connection: Connection, now: datetime, reviewer: str) -> list[AnswerReviewItem]:
    """List the undecided items that a reviewer has claimed, the oldest first."""
    mine = and_(reviews.c.reviewer == reviewer, reviews.c.lease_until > now)
    query = select(reviews).where(mine, reviews.c.state.in_(_UNDECIDED)).order_by(*OLDEST_FIRST)
    return [build_item(row, now) for row in connection.execute(query)]


def list_opinions(connection: Connection, which: ColumnElement[bool]) -> list[ReviewerDecision]:
    """List the opinions on some items, by age of the item, then in their order."""
    query = select(opinions).join(reviews).where(which).order_by(*OLDEST_FIRST, opinions.c.number)
    return [
        ReviewerDecision(
            request_id=row.request_id,
            reviewer=row.reviewer,
            time=row.time,
            decision=Decision(kind=row.kind, chosen=row.chosen, note=row.note),
            second=row.number == 2,
        )
        for row in connection.execute(query)
    ]


def list_reviewed(
    connection: Connection, now: datetime, which: ColumnElement[bool]
) -> list[Reviewed]:
    """List items with their opinions and decisions, the oldest first."""
    said = defaultdict[str, list[ReviewerDecision]](list)
    for opinion in list_opinions(connection, which):
        said[opinion.request_id].append(opinion)
    return [
        Reviewed(
            item=build_item(row, now),
            opinions=tuple(said[row.request_id]),
            # The last opinion decides: it agrees with the first, or it is the tie-breaker.
            final=said[row.request_id][-1].decision if row.state == "decided" else None,
        )
        for row in connection.execute(select(reviews).where(which).order_by(*OLDEST_FIRST))
    ]


def find_reviewed(connection: Connection, now: datetime, request_id: str) -> Reviewed | None:
    """Return one item with its opinions and decision; None if there is none."""
    found = list_reviewed(connection, now, reviews.c.request_id == request_id)
    return found[0] if found else None


def list_decided(connection: Connection, now: datetime) -> list[Reviewed]:
    """List the decided items, the oldest first."""
    return list_reviewed(connection, now, reviews.c.state == "decided")


def list_opinion_pairs(connection: Connection) -> list[tuple[ReviewerDecision, ReviewerDecision]]:
    """List the first two opinions of every item that has two, the oldest first."""
    twice = reviews.c.request_id.in_(select(opinions.c.request_id).where(opinions.c.number == 2))
    groups = groupby(list_opinions(connection, twice), key=lambda opinion: opinion.request_id)
    return [(next(said), next(said)) for _, said in groups]


def queue_depth(connection: Connection, now: datetime) -> tuple[int, int, datetime | None]:
    """Count the waiting and the claimed items; return the time of the oldest one as well."""
    count = select(func.count(), func.min(reviews.c.time)).select_from(reviews)
    waits, _ = connection.execute(count.where(unclaimed(now))).one()
    undecided, oldest = connection.execute(count.where(reviews.c.state.in_(_UNDECIDED))).one()
    return waits, undecided - waits, oldest
