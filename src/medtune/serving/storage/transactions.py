"""Read and write transactions of the store, which anchor the head of the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime

from sqlalchemy import Connection

from medtune.core.errors import StoreError
from medtune.core.schemas.audit import AuditHead
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.database import Database

HEAD_INFO_KEY = "medtune_audit_head"
"""Key in a connection's `info` of the head that its transaction writes."""


class Transactions:
    """Transactions on one database, by one clock.

    Args:
        database: The database.
        now: Returns the current time.
        anchor: File for the heads of the audit log; None for none.
    """

    def __init__(
        self, database: Database, now: Callable[[], datetime], anchor: Anchor | None
    ) -> None:
        self.database, self.now, self.anchor = database, now, anchor
        self._anchor_error: StoreError | None = None

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a read transaction on one snapshot of the database.

        Raises:
            StoreError: It cannot be read.
        """
        return self.database.reading()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write all or nothing, then anchor the audit head if it changed.

        Raises:
            StoreError: The database cannot be written.
        """
        with self.database.writing() as connection:
            connection.info.pop(HEAD_INFO_KEY, None)  # of a transaction that was rolled back
            yield connection
            head: AuditHead | None = connection.info.pop(HEAD_INFO_KEY, None)
        if head is not None and self.anchor is not None:
            try:
                self.anchor.append_head(head)
                self._anchor_error = None
            except StoreError as error:
                # The write is kept; the next head covers it, and readiness reports the fault.
                self._anchor_error = error

    def anchor_missed(self, read_head: Callable[[], AuditHead]) -> None:
        """Anchor the present head if the last one could not be anchored.

        Raises:
            StoreError: It still cannot be anchored.
        """
        if self._anchor_error is not None and self.anchor is not None:
            self.anchor.append_head(read_head())
            self._anchor_error = None


class StorePart:
    """One subject of the store.

    Every method raises StoreError if the database cannot be reached, read or written, and can be
    called again later. What it writes is on disk when it returns.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._reading, self._writing = transactions.reading, transactions.writing
        self._now = transactions.now
