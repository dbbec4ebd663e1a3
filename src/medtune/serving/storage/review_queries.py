"""Reads items under review, and what was said of them."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from medtune.serving.schemas import AnswerReviewItem, Decision, Reviewed, ReviewerDecision
from medtune.serving.storage.tables import opinions, reviews

AGE = (reviews.c.time, reviews.c.request_id)
"""The oldest first, and one order for items of one moment."""
_UNDECIDED = ("waiting", "contested")


def free(now: datetime) -> ColumnElement[bool]:
    """Choose the items that are undecided and that nobody holds."""
    nobody = or_(reviews.c.lease_until.is_(None), reviews.c.lease_until <= now)
    return and_(reviews.c.state.in_(_UNDECIDED), nobody)


def is_held(row: Row[Any], now: datetime) -> bool:
    """Tell whether somebody holds an item, and their time has not run out."""
    return row.lease_until is not None and now < row.lease_until


def item(row: Row[Any], now: datetime) -> AnswerReviewItem:
    """Make an item of its row: "claimed" is what is held, and a lease that is over is none."""
    held = {"state": "claimed"} if is_held(row, now) else {"reviewer": None, "lease_until": None}
    return AnswerReviewItem(**(row._asdict() | held))


def waiting(
    connection: Connection, now: datetime, limit: int, offset: int
) -> list[AnswerReviewItem]:
    """List items that are undecided and that nobody holds, the oldest first."""
    query = select(reviews).where(free(now)).order_by(*AGE).limit(limit).offset(offset)
    return [item(row, now) for row in connection.execute(query)]


def held(connection: Connection, now: datetime, reviewer: str) -> list[AnswerReviewItem]:
    """List the undecided items that a reviewer holds, the oldest first."""
    mine = and_(reviews.c.reviewer == reviewer, reviews.c.lease_until > now)
    query = select(reviews).where(mine, reviews.c.state.in_(_UNDECIDED)).order_by(*AGE)
    return [item(row, now) for row in connection.execute(query)]


def opinions_on(connection: Connection, which: ColumnElement[bool]) -> list[ReviewerDecision]:
    """List the opinions on some items: by the age of the item, then in their order."""
    query = select(opinions).join(reviews).where(which).order_by(*AGE, opinions.c.number)
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


def reviewed(connection: Connection, now: datetime, which: ColumnElement[bool]) -> list[Reviewed]:
    """List some items with what was said of them, the oldest first."""
    said = defaultdict[str, list[ReviewerDecision]](list)
    for opinion in opinions_on(connection, which):
        said[opinion.request_id].append(opinion)
    return [
        Reviewed(
            item=item(row, now),
            opinions=tuple(said[row.request_id]),
            # The last opinion holds: it agrees with the first, or was asked for to settle them.
            final=said[row.request_id][-1].decision if row.state == "decided" else None,
        )
        for row in connection.execute(select(reviews).where(which).order_by(*AGE))
    ]


def one(connection: Connection, now: datetime, request_id: str) -> Reviewed | None:
    """Look at one item; None where there is none."""
    found = reviewed(connection, now, reviews.c.request_id == request_id)
    return found[0] if found else None


def finals(connection: Connection, now: datetime) -> list[Reviewed]:
    """List what is decided, the oldest first."""
    return reviewed(connection, now, reviews.c.state == "decided")


def pairs(connection: Connection) -> list[tuple[ReviewerDecision, ReviewerDecision]]:
    """List the first two opinions of every item that has two, the oldest first."""
    twice = reviews.c.request_id.in_(select(opinions.c.request_id).where(opinions.c.number == 2))
    groups = groupby(opinions_on(connection, twice), key=lambda opinion: opinion.request_id)
    return [(next(said), next(said)) for _, said in groups]


def depth(connection: Connection, now: datetime) -> tuple[int, int, datetime | None]:
    """Count the items that wait and those that are held; tell when the oldest was asked."""
    count = select(func.count(), func.min(reviews.c.time)).select_from(reviews)
    waits, _ = connection.execute(count.where(free(now))).one()
    undecided, oldest = connection.execute(count.where(reviews.c.state.in_(_UNDECIDED))).one()
    return waits, undecided - waits, oldest
