"""The endpoint's database: requests, reviews, feedback, keys, sessions and the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Connection, select, update

from medtune.core.errors import StoreError
from medtune.core.schemas.audit import AuditHead, AuditLine, Detail
from medtune.serving.auth import sessions
from medtune.serving.schemas import (
    AnswerReviewItem,
    ApiKey,
    Decision,
    Feedback,
    RequestRecord,
    Reviewed,
    ReviewerDecision,
    Role,
    ShadowAnswer,
)
from medtune.serving.storage import api_keys, audit_log, migrate, review_queries, review_queue
from medtune.serving.storage import requests as journal
from medtune.serving.storage.audit_heads import Anchor, verify_audit_heads
from medtune.serving.storage.database import WAIT_TIMEOUT_S, Database
from medtune.serving.storage.requests import QueueCounts
from medtune.serving.storage.tables import probe

PROBE_BYTES = 32_768
"""Bytes that a check writes: more than the free pages at hand, to detect a full disk."""
OPERATOR_ACTOR = "operator"
"""Actor of the command line in the audit trail."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class Store:
    """The endpoint's database; threads may share one, processes may not.

    A method's writes are on disk when it returns. Every method raises StoreError if the database
    cannot be reached, read or written, and can be called again later.

    Args:
        database: A database of the current schema.
        now: Returns the current time.
        anchor: File for the heads of the audit trail; None for none.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime] = utc_now,
        anchor: Anchor | None = None,
    ) -> None:
        self._database = database
        self._now = now
        self._anchor = anchor
        self._unnoted: StoreError | None = None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        now: Callable[[], datetime] = utc_now,
        wait_s: float = WAIT_TIMEOUT_S,
        anchor: Anchor | None = None,
    ) -> Self:
        """Open a database, creating its tables or migrating them if needed.

        Args:
            url: `sqlite:///file.db` or `postgresql+psycopg://user@host/database`.
            now: Returns the current time.
            wait_s: Longest wait for a lock, a connection or a server, in seconds.
            anchor: File for the heads of the audit trail; None for none.

        Raises:
            StoreError: It cannot be opened or written, is of a newer schema, or not medtune's.
        """
        database = Database(url, wait_s)
        store = cls(database, now, anchor)
        try:
            database.prepare()
            with database.writing() as connection:
                migrate.upgrade_schema(connection, database.place)
            store.check_writable()
            store._note_first_head()
        except StoreError:
            store.close()
            raise
        return store

    def _note_first_head(self) -> None:
        """Anchor the head of a trail that is older than its anchor, and record that."""
        if self._anchor is None or self._anchor.path.exists():
            return
        if lines := self.read_audit_head().lines:
            self.append_audit_line("endpoint", "audit.anchor", self._anchor.path.name, lines=lines)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Write all or nothing, then anchor the audit head if it changed."""
        with self._database.writing() as connection:
            connection.info.pop(
                audit_log.HEAD_INFO_KEY, None
            )  # of a transaction that was rolled back
            yield connection
            head = connection.info.pop(audit_log.HEAD_INFO_KEY, None)
        if head is not None and self._anchor is not None:
            try:
                self._anchor.append_head(head)
            except StoreError as error:
                # The write is kept; the next head covers it, and readiness reports the fault.
                self._unnoted = error
            else:
                self._unnoted = None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def check_writable(self) -> None:
        """Check that the database is writable, by writing as much as a large request.

        Raises:
            StoreError: The database cannot be written, or an audit head cannot be anchored.
        """
        if self._unnoted is not None and self._anchor is not None:
            self._anchor.append_head(self.read_audit_head())
            self._unnoted = None
        for padding in ("x" * PROBE_BYTES, None):
            with self._database.writing() as connection:
                connection.execute(update(probe).values(time=self._now(), padding=padding))

    # Requests

    def add_request(self, entry: RequestRecord, review: AnswerReviewItem | None) -> None:
        """Store a request and its review item, if any."""
        self.add_requests([(entry, review)])

    def add_requests(self, kept: Sequence[tuple[RequestRecord, AnswerReviewItem | None]]) -> None:
        """Store requests, all or none, in one transaction."""
        with self._writing() as connection:
            for entry, review in kept:
                journal.add_request(connection, entry)
                if review is not None:
                    assert review.request_id == entry.request_id, "a review of another request"
                    review_queue.add_item(connection, self._now(), review)

    def find_request(self, request_id: str) -> RequestRecord | None:
        """Look a request up; None if it is not stored."""
        with self._database.reading() as connection:
            return journal.find_request(connection, request_id)

    def iter_requests(self, start: datetime, end: datetime) -> Iterator[RequestRecord]:
        """Yield requests from `start` (inclusive) to `end` (exclusive), the oldest first.

        They are one snapshot of the database; a connection is held until the last one is read.
        """
        with self._database.reading() as connection:
            yield from journal.iter_requests(connection, start, end)

    def add_shadow_answers(self, answers: Sequence[ShadowAnswer]) -> None:
        """Store a shadow's answers to stored requests, all or none."""
        with self._writing() as connection:
            journal.add_shadow_answers(connection, answers)

    def iter_shadowed_requests(
        self, start: datetime, end: datetime
    ) -> Iterator[tuple[RequestRecord, ShadowAnswer]]:
        """Yield requests of a period with their shadow's answers, like `iter_requests`."""
        with self._database.reading() as connection:
            yield from journal.iter_shadowed_requests(connection, start, end)

    def count_requests(self) -> QueueCounts:
        """Count the stored requests by status, and the review items."""
        with self._database.reading() as connection:
            return journal.count_requests(connection, self._now())

    def set_feedback(self, feedback: Feedback) -> None:
        """Store feedback on a request, in place of earlier feedback.

        Raises:
            NotFoundError: The request is not stored.
            ConflictError: It has no such option.
        """
        with self._writing() as connection:
            journal.set_feedback(connection, feedback)

    def list_feedback(self) -> list[Feedback]:
        """List the feedback, the oldest first."""
        with self._database.reading() as connection:
            return journal.list_feedback(connection)

    def delete_requests_before(self, before: datetime) -> int:
        """Delete requests before a time with everything that belongs to them.

        Returns:
            Number of deleted requests.
        """
        with self._writing() as connection:
            count = journal.delete_requests_before(connection, self._now(), before)
        self._database.truncate_wal()
        return count

    def read_trusted_time(self) -> datetime | None:
        """Return the last time that retention trusted; None before the first."""
        with self._database.reading() as connection:
            found: datetime | None = connection.execute(select(probe.c.seen)).scalar()
            return found

    def set_trusted_time(self, now: datetime) -> None:
        """Store a time that retention trusts."""
        with self._database.writing() as connection:
            connection.execute(update(probe).values(seen=now))

    # Reviews

    def find_reviewed(self, request_id: str) -> Reviewed | None:
        """Return an item with its opinions and decision; None if there is none.

        It must not be shown to whoever may still give a second opinion.
        """
        with self._database.reading() as connection:
            return review_queries.find_reviewed(connection, self._now(), request_id)

    def list_waiting(self, limit: int, offset: int = 0) -> list[AnswerReviewItem]:
        """List undecided items without a valid lease, the oldest first."""
        with self._database.reading() as connection:
            return review_queries.list_waiting(connection, self._now(), limit, offset)

    def list_claimed(self, reviewer: str) -> list[AnswerReviewItem]:
        """List the undecided items that a reviewer has claimed, the oldest first."""
        with self._database.reading() as connection:
            return review_queries.list_claimed(connection, self._now(), reviewer)

    def claim(
        self, reviewer: str, lease_s: float, request_id: str | None = None
    ) -> AnswerReviewItem | None:
        """Claim an item for a reviewer: the oldest that waits, or a given one.

        Nobody else can claim it meanwhile, and no reviewer gets an item that they gave an opinion
        on. Claiming one's own item again extends the lease.

        Args:
            reviewer: Name of the reviewer.
            lease_s: Seconds until the lease expires.
            request_id: Id of a given item; None for the oldest.

        Returns:
            The item; None if no id is given and no item waits.

        Raises:
            NotFoundError: The given item does not exist.
            ConflictError: It is decided, is claimed by another or has this reviewer's opinion, or
                the reviewer holds the most items allowed.
        """
        with self._writing() as connection:
            return review_queue.claim(connection, self._now(), reviewer, lease_s, request_id)

    def release(self, request_id: str, reviewer: str) -> None:
        """Release a reviewer's item.

        Raises:
            NotFoundError: It does not exist.
            ConflictError: It is not this reviewer's.
        """
        with self._writing() as connection:
            review_queue.release(connection, self._now(), request_id, reviewer)

    def decide(self, request_id: str, reviewer: str, decision: Decision) -> Reviewed:
        """Record a reviewer's opinion; repeating the same one changes nothing.

        The first opinion decides unless two are required; the second decides if it has the same
        kind and option; otherwise the third does.

        Raises:
            NotFoundError: The item does not exist.
            ConflictError: It is not claimed by this reviewer, the reviewer gave another opinion
                before, or the decision is invalid for it.
        """
        with self._writing() as connection:
            return review_queue.decide(connection, self._now(), request_id, reviewer, decision)

    def request_second_opinion(self, request_id: str, actor: str) -> AnswerReviewItem:
        """Require a second opinion on an item; a decided one waits again.

        Raises:
            NotFoundError: It does not exist.
            ConflictError: It has two opinions already.
        """
        with self._writing() as connection:
            return review_queue.request_second_opinion(connection, self._now(), request_id, actor)

    def list_opinion_pairs(self) -> list[tuple[ReviewerDecision, ReviewerDecision]]:
        """List the first two opinions of every item that has two, for Cohen's kappa."""
        with self._database.reading() as connection:
            return review_queries.list_opinion_pairs(connection)

    def list_decided(self) -> list[Reviewed]:
        """List the decided items, the oldest first."""
        with self._database.reading() as connection:
            return review_queries.list_decided(connection, self._now())

    # Keys

    def add_key(
        self, name: str, role: Role, per_minute: int, actor: str = OPERATOR_ACTOR
    ) -> tuple[ApiKey, str]:
        """Create a key.

        Returns:
            The key, and its text, which is not stored.

        Raises:
            InputError: The name was used before, or a value is invalid.
        """
        with self._writing() as connection:
            return api_keys.add_key(connection, self._now(), actor, name, role, per_minute)

    def find_key(self, secret: str) -> ApiKey | None:
        """Look a key up by its text; None if it is unknown or revoked."""
        with self._database.reading() as connection:
            return api_keys.find_key(connection, secret)

    def list_keys(self) -> list[ApiKey]:
        """List the keys, the oldest first, including revoked ones."""
        with self._database.reading() as connection:
            return api_keys.list_keys(connection)

    def revoke_key(self, name: str, actor: str = OPERATOR_ACTOR) -> None:
        """Revoke a key; a revoked one is left as it is.

        Raises:
            InputError: No key has that name.
        """
        with self._writing() as connection:
            api_keys.revoke_key(connection, self._now(), actor, name)

    # Sessions

    def begin_session(self, secret: str) -> str:
        """Start a session of a key; return the cookie's value."""
        with self._writing() as connection:
            return sessions.begin_session(connection, self._now(), secret)

    def find_session(self, cookie: str) -> tuple[str, ApiKey | None] | None:
        """Look a session up; return its key's digest, and the key if the store has a valid one."""
        with self._database.reading() as connection:
            return sessions.find_session(connection, self._now(), cookie)

    def end_session(self, cookie: str) -> None:
        """End a session; its cookie becomes invalid."""
        with self._writing() as connection:
            sessions.end_session(connection, cookie)

    # The audit trail

    def append_audit_line(
        self, actor: str, action: str, subject: str, **detail: Detail
    ) -> AuditLine:
        """Append a line about an action outside the store, such as one on a release."""
        with self._writing() as connection:
            return audit_log.append_audit_line(
                connection, self._now(), actor, action, subject, detail
            )

    def list_audit_lines(self, after: int = 0, limit: int = 1000) -> list[AuditLine]:
        """Read lines in order, beginning after number `after`."""
        with self._database.reading() as connection:
            return list(audit_log.iter_audit_lines(connection, after, limit))

    def read_audit_head(self) -> AuditHead:
        """Return the head of the audit trail."""
        with self._database.reading() as connection:
            return audit_log.read_audit_head(connection)

    def verify_audit_lines(self) -> int:
        """Verify every line; return their number.

        Raises:
            StoreError: A line was changed, removed or inserted; the first one is named.
        """
        with self._database.reading() as connection:
            return audit_log.verify_audit_lines(connection, self._database.place)

    def verify_audit_heads(self, heads: Sequence[AuditHead], place: str) -> None:
        """Compare the audit lines with heads that were noted at `place`.

        Raises:
            StoreError: Lines are missing at the end, or were resealed.
        """
        with (
            self._database.reading() as connection,
            closing(audit_log.iter_audit_lines(connection)) as lines,
        ):
            verify_audit_heads(lines, heads, place)
