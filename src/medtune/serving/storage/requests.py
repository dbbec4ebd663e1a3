"""Queries on stored requests, shadow answers and feedback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from medtune.core.errors import ConflictError, NotFoundError
from medtune.core.records import Record
from medtune.core.schemas.audit import Detail
from medtune.serving.schemas import Feedback, RequestRecord, ShadowAnswer, Status
from medtune.serving.storage import audit_log, review_queries
from medtune.serving.storage.tables import entries, feedback, reviews, shadows

RETENTION_ACTOR = "retention"
"""Actor of deletions of old requests in the audit trail."""
_PAGE = 1000
_AGE = (entries.c.time, entries.c.request_id)


class QueueCounts(Record):
    """Numbers of stored requests and of review items."""

    by_status: dict[Status, int]
    """Stored requests; a status without any is missing."""
    waiting: int
    """Undecided items that nobody has claimed."""
    held: int
    """Items that a reviewer has claimed."""
    oldest: datetime | None
    """Time of the oldest undecided request, UTC."""


def add_request(connection: Connection, entry: RequestRecord) -> None:
    """Insert a request."""
    connection.execute(insert(entries).values(**entry.model_dump()))


def find_request(connection: Connection, request_id: str) -> RequestRecord | None:
    """Look a request up; None if it is not stored."""
    row = connection.execute(select(entries).where(entries.c.request_id == request_id)).first()
    return None if row is None else RequestRecord(**row._asdict())


def iter_requests(
    connection: Connection, start: datetime, end: datetime
) -> Iterator[RequestRecord]:
    """Yield requests from `start` (inclusive) to `end` (exclusive), the oldest first."""
    query = select(entries).where(_in_period(start, end)).order_by(*_AGE)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as rows:
        for row in rows:
            yield RequestRecord(**row._asdict())


def add_shadow_answers(connection: Connection, answers: Sequence[ShadowAnswer]) -> None:
    """Insert a shadow's answers to stored requests."""
    connection.execute(insert(shadows), [answer.model_dump() for answer in answers])


def iter_shadowed_requests(
    connection: Connection, start: datetime, end: datetime
) -> Iterator[tuple[RequestRecord, ShadowAnswer]]:
    """Yield requests of a period with their shadow's answers, the oldest first."""
    query = select(entries, shadows).join(shadows).where(_in_period(start, end)).order_by(*_AGE)
    width = len(entries.c)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as rows:
        for row in rows:
            entry = dict(zip(entries.c.keys(), row[:width], strict=True))
            answer = dict(zip(shadows.c.keys(), row[width:], strict=True))
            yield RequestRecord(**entry), ShadowAnswer(**answer)


def _in_period(start: datetime, end: datetime) -> ColumnElement[bool]:
    """Return the condition for requests from `start` (inclusive) to `end` (exclusive)."""
    return and_(entries.c.time >= start, entries.c.time < end)


def count_requests(connection: Connection, now: datetime) -> QueueCounts:
    """Count the stored requests by status, and the review items."""
    query = select(entries.c.status, func.count()).group_by(entries.c.status)
    by_status = dict(tuple(row) for row in connection.execute(query))
    waiting, held, oldest = review_queries.queue_depth(connection, now)
    return QueueCounts(by_status=by_status, waiting=waiting, held=held, oldest=oldest)


def set_feedback(connection: Connection, said: Feedback) -> None:
    """Store feedback on a request, in place of earlier feedback.

    Raises:
        NotFoundError: The request is not stored.
        ConflictError: It has no such option.
    """
    query = select(entries.c.options).where(entries.c.request_id == said.request_id)
    options = connection.execute(query.with_for_update()).scalar()
    if options is None:
        raise NotFoundError(f"no request {said.request_id}", expected="one that is still stored")
    if said.corrected is not None and said.corrected >= options:
        raise ConflictError(
            f"request {said.request_id} has {options} options, and option {said.corrected} is none",
            expected="the index of an option, from 0",
        )
    connection.execute(delete(feedback).where(feedback.c.request_id == said.request_id))
    connection.execute(insert(feedback).values(**said.model_dump()))


def list_feedback(connection: Connection) -> list[Feedback]:
    """List the feedback, the oldest first."""
    query = select(feedback).order_by(feedback.c.time, feedback.c.request_id)
    return [Feedback(**row._asdict()) for row in connection.execute(query)]


def delete_requests_before(connection: Connection, now: datetime, before: datetime) -> int:
    """Delete older requests with their reviews, decided or not, shadow answers and feedback.

    The audit trail is kept, and records every deletion, even of nothing: that proves that retention
    is applied.

    Returns:
        Number of deleted requests.
    """
    old = entries.c.time < before
    undecided = select(func.count()).select_from(reviews.join(entries))
    unseen = connection.execute(undecided.where(old, reviews.c.state != "decided")).scalar_one()
    # Opinions, reviews, shadow answers and feedback are deleted by ON DELETE CASCADE.
    count = connection.execute(delete(entries).where(old)).rowcount
    detail: dict[str, Detail] = {
        "before": before.astimezone(UTC).isoformat(),
        "requests": count,
        "undecided": unseen,
    }
    audit_log.append_audit_line(
        connection, now, RETENTION_ACTOR, "retention.purge", "requests", detail
    )
    return count
