"""The endpoint's database: requests, reviews, keys, sessions and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import select, update

from medtune.core.errors import StoreError
from medtune.serving.auth.sessions import Sessions
from medtune.serving.schemas import ENDPOINT
from medtune.serving.storage import migrate
from medtune.serving.storage.api_keys import ApiKeys
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.audit_log import AuditLog
from medtune.serving.storage.database import WAIT_TIMEOUT_S, Database
from medtune.serving.storage.requests import Requests
from medtune.serving.storage.review_queue import ReviewQueue
from medtune.serving.storage.tables import probe
from medtune.serving.storage.transactions import Transactions

PROBE_BYTES = 32_768
"""Bytes that a check writes: more than the free pages at hand, to detect a full disk."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class Store:
    """The endpoint's database, by subject; threads may share one, processes may not.

    Attributes:
        requests: Requests, shadow answers and feedback.
        reviews: The review queue.
        keys: API keys.
        sessions: Sessions of signed-in browsers.
        audit: The audit log.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime] = utc_now,
        anchor: Anchor | None = None,
    ) -> None:
        self._database, self._now = database, now
        self._transactions = transactions = Transactions(database, now, anchor)
        self.requests, self.reviews = Requests(transactions), ReviewQueue(transactions)
        self.keys, self.sessions = ApiKeys(transactions), Sessions(transactions)
        self.audit = AuditLog(transactions)

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
            anchor: File for the heads of the audit log; None for none.

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
            # A log that is older than its anchor is anchored now, and that is recorded.
            lines = store.audit.read_head().lines
            if anchor is not None and not anchor.path.exists() and lines:
                store.audit.append(ENDPOINT, "audit.anchor", anchor.path.name, lines=lines)
        except StoreError:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def check_writable(self) -> None:
        """Check that the database is writable, by writing as much as a large request.

        Raises:
            StoreError: The database cannot be written, or an audit head cannot be anchored.
        """
        self._transactions.anchor_missed(self.audit.read_head)
        for padding in ("x" * PROBE_BYTES, None):
            with self._database.writing() as connection:
                connection.execute(update(probe).values(time=self._now(), padding=padding))

    def read_trusted_time(self) -> datetime | None:
        """Return the last time that retention trusted; None before the first."""
        with self._database.reading() as connection:
            found: datetime | None = connection.execute(select(probe.c.seen)).scalar()
            return found

    def set_trusted_time(self, now: datetime) -> None:
        """Store a time that retention trusts."""
        with self._database.writing() as connection:
            connection.execute(update(probe).values(seen=now))
