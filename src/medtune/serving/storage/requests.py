"""Requests that were answered, what shadows made of them, and what askers said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from medtune.core.errors import ReviewError
from medtune.core.records import Record
from medtune.core.schemas.audit import Detail
from medtune.serving.schemas import Feedback, RequestRecord, ShadowAnswer, Status
from medtune.serving.storage import audit_log, review_queries
from medtune.serving.storage.tables import entries, feedback, reviews, shadows

RETENTION = "retention"
"""Who deletes what is old."""
_PAGE = 1000
_AGE = (entries.c.time, entries.c.request_id)


class QueueCounts(Record):
    """How much was asked, and how much waits for a person."""

    by_status: dict[Status, int]
    """Requests that are kept; what was never given is not named."""
    waiting: int
    """Items that are undecided and that nobody holds."""
    held: int
    """Items that a reviewer holds."""
    oldest: datetime | None
    """When the oldest undecided item was asked, UTC."""


def put(connection: Connection, entry: RequestRecord) -> None:
    """Add a request."""
    connection.execute(insert(entries).values(**entry.model_dump()))


def find(connection: Connection, request_id: str) -> RequestRecord | None:
    """Look a request up; None where it is not kept."""
    row = connection.execute(select(entries).where(entries.c.request_id == request_id)).first()
    return None if row is None else RequestRecord(**row._asdict())


def between(connection: Connection, start: datetime, end: datetime) -> Iterator[RequestRecord]:
    """Read requests from `start` on and before `end`, the oldest first."""
    query = select(entries).where(_within(start, end)).order_by(*_AGE)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as rows:
        for row in rows:
            yield RequestRecord(**row._asdict())


def put_shadows(connection: Connection, answers: Sequence[ShadowAnswer]) -> None:
    """Add what a shadow made of some requests that are kept."""
    connection.execute(insert(shadows), [answer.model_dump() for answer in answers])


def shadowed(
    connection: Connection, start: datetime, end: datetime
) -> Iterator[tuple[RequestRecord, ShadowAnswer]]:
    """Read requests of a time that had a shadow, the oldest first, each with what it made of it."""
    query = select(entries, shadows).join(shadows).where(_within(start, end)).order_by(*_AGE)
    width = len(entries.c)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as rows:
        for row in rows:
            entry = dict(zip(entries.c.keys(), row[:width], strict=True))
            answer = dict(zip(shadows.c.keys(), row[width:], strict=True))
            yield RequestRecord(**entry), ShadowAnswer(**answer)


def _within(start: datetime, end: datetime) -> ColumnElement[bool]:
    """Choose the requests from `start` on and before `end`."""
    return and_(entries.c.time >= start, entries.c.time < end)


def counts(connection: Connection, now: datetime) -> QueueCounts:
    """Count what is kept."""
    query = select(entries.c.status, func.count()).group_by(entries.c.status)
    by_status = dict(tuple(row) for row in connection.execute(query))
    waiting, held, oldest = review_queries.depth(connection, now)
    return QueueCounts(by_status=by_status, waiting=waiting, held=held, oldest=oldest)


def comment(connection: Connection, said: Feedback) -> None:
    """Keep what an asker says, in place of what was said of this request before.

    Raises:
        ReviewError: The request is not kept, or has no such option.
    """
    query = select(entries.c.options).where(entries.c.request_id == said.request_id)
    options = connection.execute(query.with_for_update()).scalar()
    if options is None:
        raise ReviewError(f"no request {said.request_id}", expected="one that is still kept")
    if said.corrected is not None and said.corrected >= options:
        raise ReviewError(
            f"request {said.request_id} has {options} options, and option {said.corrected} is none",
            expected="the index of an option, from 0",
        )
    connection.execute(delete(feedback).where(feedback.c.request_id == said.request_id))
    connection.execute(insert(feedback).values(**said.model_dump()))


def comments(connection: Connection) -> list[Feedback]:
    """List what askers said, the oldest first."""
    query = select(feedback).order_by(feedback.c.time, feedback.c.request_id)
    return [Feedback(**row._asdict()) for row in connection.execute(query)]


def purge(connection: Connection, now: datetime, before: datetime) -> int:
    """Delete requests that are older, with their reviews, decided or not, shadows and feedback.

    The audit trail stays, and tells of every purge, of an empty one too: that shows that retention
    is kept.

    Returns:
        How many requests were deleted.
    """
    old = entries.c.time < before
    undecided = select(func.count()).select_from(reviews.join(entries))
    unseen = connection.execute(undecided.where(old, reviews.c.state != "decided")).scalar_one()
    # Opinions, reviews, shadows and feedback go by ON DELETE CASCADE.
    count = connection.execute(delete(entries).where(old)).rowcount
    detail: dict[str, Detail] = {
        "before": before.astimezone(UTC).isoformat(),
        "requests": count,
        "undecided": unseen,
    }
    audit_log.append(connection, now, RETENTION, "retention.purge", "requests", detail)
    return count
