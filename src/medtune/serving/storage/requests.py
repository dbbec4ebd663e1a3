"""Stored requests, shadow answers and feedback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, and_, delete, func, insert, select

from medtune.core.errors import ConflictError, NotFoundError
from medtune.core.records import Record
from medtune.core.schemas.audit import Detail
from medtune.serving.schemas import (
    AnswerReviewItem,
    Feedback,
    RequestRecord,
    ShadowAnswer,
    Status,
)
from medtune.serving.storage import review_queue
from medtune.serving.storage.audit_log import append_audit_line
from medtune.serving.storage.tables import entries, feedback, reviews, shadows
from medtune.serving.storage.transactions import StorePart

RETENTION_ACTOR = "retention"
"""Actor of deletions of old requests in the audit trail."""
_PAGE = 1000


StoredRequest = tuple[RequestRecord, AnswerReviewItem | None]
"""A request, and the item under review that it leads to."""


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


class Requests(StorePart):
    """Stored requests, shadow answers and feedback."""

    def add(self, entry: RequestRecord, review: AnswerReviewItem | None) -> None:
        """Store a request and its review item, if any."""
        self.add_all([(entry, review)])

    def add_all(self, kept: Sequence[StoredRequest]) -> None:
        """Store requests, all or none, in one transaction."""
        with self._writing() as connection:
            for entry, review in kept:
                connection.execute(insert(entries).values(**entry.model_dump()))
                if review is not None:
                    assert review.request_id == entry.request_id, "a review of another request"
                    review_queue.add_item(connection, self._now(), review)

    def find(self, request_id: str) -> RequestRecord | None:
        """Look a request up; None if it is not stored."""
        with self._reading() as connection:
            query = select(entries).where(entries.c.request_id == request_id)
            row = connection.execute(query).first()
            return None if row is None else RequestRecord(**row._asdict())

    def iter_period(self, start: datetime, end: datetime) -> Iterator[RequestRecord]:
        """Yield requests from `start` (inclusive) to `end` (exclusive), the oldest first.

        They are one snapshot of the database; a connection is held until the last one is read.
        """
        for row in self._iter_rows(select(entries), start, end):
            yield RequestRecord(**row._asdict())

    def add_shadow_answers(self, answers: Sequence[ShadowAnswer]) -> None:
        """Store a shadow's answers to stored requests, all or none."""
        with self._writing() as connection:
            connection.execute(insert(shadows), [answer.model_dump() for answer in answers])

    def iter_shadowed(
        self, start: datetime, end: datetime
    ) -> Iterator[tuple[RequestRecord, ShadowAnswer]]:
        """Yield requests of a period with their shadow's answers, like `iter_period`."""
        width = len(entries.c)
        for row in self._iter_rows(select(entries, shadows).join(shadows), start, end):
            entry = dict(zip(entries.c.keys(), row[:width], strict=True))
            answer = dict(zip(shadows.c.keys(), row[width:], strict=True))
            yield RequestRecord(**entry), ShadowAnswer(**answer)

    def _iter_rows(self, query: Select[Any], start: datetime, end: datetime) -> Iterator[Row[Any]]:
        in_period = and_(entries.c.time >= start, entries.c.time < end)
        query = query.where(in_period).order_by(entries.c.time, entries.c.request_id)
        with (
            self._reading() as connection,
            connection.execute(query.execution_options(yield_per=_PAGE)) as rows,
        ):
            yield from rows

    def count(self) -> QueueCounts:
        """Count the stored requests by status, and the review items."""
        query = select(entries.c.status, func.count()).group_by(entries.c.status)
        with self._reading() as connection:
            by_status = dict(tuple(row) for row in connection.execute(query))
            waiting, held, oldest = review_queue.queue_depth(connection, self._now())
        return QueueCounts(by_status=by_status, waiting=waiting, held=held, oldest=oldest)

    def set_feedback(self, said: Feedback) -> None:
        """Store feedback on a request, in place of earlier feedback.

        Raises:
            NotFoundError: The request is not stored.
            ConflictError: It has no such option.
        """
        query = select(entries.c.options).where(entries.c.request_id == said.request_id)
        with self._writing() as connection:
            options = connection.execute(query.with_for_update()).scalar()
            if options is None:
                raise NotFoundError(
                    f"no request {said.request_id}", expected="one that is still stored"
                )
            if said.corrected is not None and said.corrected >= options:
                raise ConflictError(
                    f"request {said.request_id} has {options} options, "
                    f"and option {said.corrected} is none",
                    expected="the index of an option, from 0",
                )
            connection.execute(delete(feedback).where(feedback.c.request_id == said.request_id))
            connection.execute(insert(feedback).values(**said.model_dump()))

    def list_feedback(self) -> list[Feedback]:
        """List the feedback, the oldest first."""
        query = select(feedback).order_by(feedback.c.time, feedback.c.request_id)
        with self._reading() as connection:
            return [Feedback(**row._asdict()) for row in connection.execute(query)]

    def delete_before(self, before: datetime) -> int:
        """Delete older requests with their reviews, decided or not, shadow answers and feedback.

        The audit log is kept, and records every deletion, even of nothing: that proves that
        retention is applied.

        Returns:
            Number of deleted requests.
        """
        old = entries.c.time < before
        undecided = select(func.count()).select_from(reviews.join(entries))
        with self._writing() as connection:
            unseen = connection.execute(
                undecided.where(old, reviews.c.state != "decided")
            ).scalar_one()
            # Opinions, reviews, shadow answers and feedback are deleted by ON DELETE CASCADE.
            count = connection.execute(delete(entries).where(old)).rowcount
            detail: dict[str, Detail] = {
                "before": before.astimezone(UTC).isoformat(),
                "requests": count,
                "undecided": unseen,
            }
            append_audit_line(
                connection, self._now(), RETENTION_ACTOR, "retention.purge", "requests", detail
            )
        self._transactions.database.truncate_wal()
        return count
