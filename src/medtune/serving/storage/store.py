"""The endpoint's store: requests, reviews, feedback, keys and the audit trail, in one database."""

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
from medtune.serving.storage.audit_heads import Anchor, hold
from medtune.serving.storage.database import WAIT_S, Database
from medtune.serving.storage.requests import QueueCounts
from medtune.serving.storage.tables import probe

PROBE_BYTES = 32_768
"""What a probe writes: more than the pages at hand, so that a full disk is found."""
OPERATOR = "operator"
"""Who acts on the command line."""


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


class Store:
    """Keeps what the endpoint needs to remember; threads may share one, processes may not.

    What a method has written is on the disk when it returns.  Every method raises StoreError where
    the database cannot be reached, read or written, and can be called again once it can.

    Args:
        database: Of the present schema.
        now: Tells the time.
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
        wait_s: float = WAIT_S,
        anchor: Anchor | None = None,
    ) -> Self:
        """Open a database; make its tables, or bring them up to date, where that is needed.

        Args:
            url: `sqlite:///file.db` or `postgresql+psycopg://user@host/database`.
            now: Tells the time.
            wait_s: How long to wait for a lock, a connection or a server, in seconds.
            anchor: Where the audit trail's heads are noted; None is nowhere.

        Raises:
            StoreError: It cannot be opened or written, is of a newer schema, or not medtune's.
        """
        database = Database(url, wait_s)
        store = cls(database, now, anchor)
        try:
            database.prepare()
            with database.writing() as connection:
                migrate.upgrade(connection, database.place)
            store.check()
            store._begin_anchor()
        except StoreError:
            store.close()
            raise
        return store

    def _begin_anchor(self) -> None:
        """Note the head of a trail that is older than its anchor; the trail tells of it."""
        if self._anchor is None or self._anchor.path.exists():
            return
        if lines := self.audit_head().lines:
            self.audit("endpoint", "audit.anchor", self._anchor.path.name, lines=lines)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Write all or nothing; where that adds to the audit trail, note its head afterwards."""
        with self._database.writing() as connection:
            connection.info.pop(audit_log.HEAD, None)  # of a transaction that was rolled back
            yield connection
            head = connection.info.pop(audit_log.HEAD, None)
        if head is not None and self._anchor is not None:
            try:
                self._anchor.add(head)
            except StoreError as error:
                # What was written stands; the next head covers it, and readiness tells.
                self._unnoted = error
            else:
                self._unnoted = None

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def check(self) -> None:
        """Write as much as a large request would, and take it away again.

        Raises:
            StoreError: The database cannot be written now, or heads of the audit trail not noted.
        """
        if self._unnoted is not None and self._anchor is not None:
            self._anchor.add(self.audit_head())
            self._unnoted = None
        for padding in ("x" * PROBE_BYTES, None):
            with self._database.writing() as connection:
                connection.execute(update(probe).values(time=self._now(), padding=padding))

    # Requests

    def keep(self, entry: RequestRecord, review: AnswerReviewItem | None) -> None:
        """Keep a request, together with the item that waits for a person, if one does."""
        self.keep_all([(entry, review)])

    def keep_all(self, kept: Sequence[tuple[RequestRecord, AnswerReviewItem | None]]) -> None:
        """Keep some requests, all or none of them; the disk is waited for once."""
        with self._writing() as connection:
            for entry, review in kept:
                journal.put(connection, entry)
                if review is not None:
                    assert review.request_id == entry.request_id, "a review of another request"
                    review_queue.put(connection, self._now(), review)

    def entry(self, request_id: str) -> RequestRecord | None:
        """Look a request up; None where it is not kept."""
        with self._database.reading() as connection:
            return journal.find(connection, request_id)

    def entries(self, start: datetime, end: datetime) -> Iterator[RequestRecord]:
        """Read requests from `start` on and before `end`, the oldest first.

        They are one state of the database, and a connection is held until the last is taken.
        """
        with self._database.reading() as connection:
            yield from journal.between(connection, start, end)

    def keep_shadows(self, answers: Sequence[ShadowAnswer]) -> None:
        """Keep what a shadow made of some requests that are kept, all or none of it."""
        with self._writing() as connection:
            journal.put_shadows(connection, answers)

    def shadowed(
        self, start: datetime, end: datetime
    ) -> Iterator[tuple[RequestRecord, ShadowAnswer]]:
        """Read the requests of a time that had a shadow, like `entries`."""
        with self._database.reading() as connection:
            yield from journal.shadowed(connection, start, end)

    def counts(self) -> QueueCounts:
        """Count requests by status, and what waits for a person."""
        with self._database.reading() as connection:
            return journal.counts(connection, self._now())

    def give_feedback(self, feedback: Feedback) -> None:
        """Keep what an asker says of an answer, in place of what was said of it before.

        Raises:
            ReviewError: The request is not kept, or has no such option.
        """
        with self._writing() as connection:
            journal.comment(connection, feedback)

    def feedback(self) -> list[Feedback]:
        """List what askers said, the oldest first."""
        with self._database.reading() as connection:
            return journal.comments(connection)

    def purge(self, before: datetime) -> int:
        """Delete the requests before a time with all that belongs to them, decided or not.

        Returns:
            How many there were.
        """
        with self._writing() as connection:
            count = journal.purge(connection, self._now(), before)
        self._database.erase()
        return count

    def trusted(self) -> datetime | None:
        """Tell the last time that retention trusted; None before the first."""
        with self._database.reading() as connection:
            found: datetime | None = connection.execute(select(probe.c.seen)).scalar()
            return found

    def trust(self, now: datetime) -> None:
        """Keep a time that retention trusts."""
        with self._database.writing() as connection:
            connection.execute(update(probe).values(seen=now))

    # Reviews

    def reviewed(self, request_id: str) -> Reviewed | None:
        """Look at an item and the opinions on it; None where there is none.

        Whoever is to give a second opinion must not be shown these.
        """
        with self._database.reading() as connection:
            return review_queries.one(connection, self._now(), request_id)

    def waiting(self, limit: int, offset: int = 0) -> list[AnswerReviewItem]:
        """List items that are undecided and that nobody holds, the oldest first."""
        with self._database.reading() as connection:
            return review_queries.waiting(connection, self._now(), limit, offset)

    def held(self, reviewer: str) -> list[AnswerReviewItem]:
        """List the undecided items that a reviewer holds, the oldest first."""
        with self._database.reading() as connection:
            return review_queries.held(connection, self._now(), reviewer)

    def claim(
        self, reviewer: str, lease_s: float, request_id: str | None = None
    ) -> AnswerReviewItem | None:
        """Have a reviewer hold an item: the oldest that waits, or a certain one.

        Nobody else gets it meanwhile, and nobody gets one that they gave their opinion on.  Who
        holds a certain one already holds it for longer.

        Args:
            reviewer: Who asks.
            lease_s: For how many seconds.
            request_id: The certain one.

        Returns:
            The item; None where no certain one is asked for, and none waits.

        Raises:
            ReviewError: A certain one is not there, decided, another's, or has this one's opinion;
                or the reviewer holds as many as one may.
        """
        with self._writing() as connection:
            return review_queue.claim(connection, self._now(), reviewer, lease_s, request_id)

    def release(self, request_id: str, reviewer: str) -> None:
        """Have a reviewer let go of an item.

        Raises:
            ReviewError: It is not there, or not this reviewer's.
        """
        with self._writing() as connection:
            review_queue.release(connection, self._now(), request_id, reviewer)

    def decide(self, request_id: str, reviewer: str, decision: Decision) -> Reviewed:
        """Take a reviewer's opinion; the same one again changes nothing.

        The first opinion decides, unless two are wanted; the second decides if it is the same in
        kind and option; if not, the third does.

        Raises:
            ReviewError: The item is not there or not held by this reviewer, the opinion was given
                before and is another, or it names what is not there.
        """
        with self._writing() as connection:
            return review_queue.decide(connection, self._now(), request_id, reviewer, decision)

    def ask_second(self, request_id: str, actor: str) -> AnswerReviewItem:
        """Have two reviewers look at an item; one that is decided waits again.

        Raises:
            ReviewError: It is not there, or two have given their opinion.
        """
        with self._writing() as connection:
            return review_queue.ask_second(connection, self._now(), request_id, actor)

    def pairs(self) -> list[tuple[ReviewerDecision, ReviewerDecision]]:
        """List the first two opinions of every item that has two, for Cohen's kappa."""
        with self._database.reading() as connection:
            return review_queries.pairs(connection)

    def finals(self) -> list[Reviewed]:
        """List what is decided, the oldest first."""
        with self._database.reading() as connection:
            return review_queries.finals(connection, self._now())

    # Keys

    def add_key(
        self, name: str, role: Role, per_minute: int, actor: str = OPERATOR
    ) -> tuple[ApiKey, str]:
        """Make a key.

        Returns:
            The key, and its text: it is not kept, so this is the only time to see it.

        Raises:
            InputError: The name was used before, or the key is not one.
        """
        with self._writing() as connection:
            return api_keys.add(connection, self._now(), actor, name, role, per_minute)

    def key_of(self, secret: str) -> ApiKey | None:
        """Look a key up by its text; None for one that is unknown or revoked."""
        with self._database.reading() as connection:
            return api_keys.find(connection, secret)

    def keys(self) -> list[ApiKey]:
        """List the keys by age, with those that were revoked."""
        with self._database.reading() as connection:
            return api_keys.every(connection)

    def revoke_key(self, name: str, actor: str = OPERATOR) -> None:
        """End a key; one that is ended already stays so.

        Raises:
            InputError: There is none of that name.
        """
        with self._writing() as connection:
            api_keys.revoke(connection, self._now(), actor, name)

    # Sessions

    def begin_session(self, secret: str) -> str:
        """Begin a session of a key, for `session.SESSION_S`; return what the browser keeps."""
        with self._writing() as connection:
            return sessions.begin(connection, self._now(), secret)

    def session(self, cookie: str) -> tuple[str, ApiKey | None] | None:
        """Look a session up: digest of its key, and the key, where the store has one that holds."""
        with self._database.reading() as connection:
            return sessions.find(connection, self._now(), cookie)

    def end_session(self, cookie: str) -> None:
        """End a session; what the browser keeps of it opens nothing any more."""
        with self._writing() as connection:
            sessions.end(connection, cookie)

    # The audit trail

    def audit(self, actor: str, action: str, subject: str, **detail: Detail) -> AuditLine:
        """Add a line on what was done elsewhere, to a release for one."""
        with self._writing() as connection:
            return audit_log.append(connection, self._now(), actor, action, subject, detail)

    def audit_lines(self, after: int = 0, limit: int = 1000) -> list[AuditLine]:
        """Read lines in order, from the one that follows number `after`."""
        with self._database.reading() as connection:
            return list(audit_log.lines(connection, after, limit))

    def audit_head(self) -> AuditHead:
        """Tell where the trail ends."""
        with self._database.reading() as connection:
            return audit_log.head(connection)

    def verify_audit(self) -> int:
        """Count the lines, and check every one of them.

        Raises:
            StoreError: A line is changed, missing or put in; the first is named.
        """
        with self._database.reading() as connection:
            return audit_log.verified(connection, self._database.place)

    def hold_audit(self, heads: Sequence[AuditHead], place: str) -> None:
        """Hold the lines to heads that were noted at `place`.

        Raises:
            StoreError: Lines are missing at the end, or were sealed anew.
        """
        with self._database.reading() as connection, closing(audit_log.lines(connection)) as lines:
            hold(lines, heads, place)
