"""The audit trail in the database, as a hash chain (`core.schemas.audit`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, insert, select

from medtune.core.schemas.audit import (
    GENESIS_HASH,
    AuditHead,
    AuditLine,
    Detail,
    make_next_line,
    verify_chain,
)
from medtune.serving.storage.audit_heads import verify_audit_heads
from medtune.serving.storage.database import AdvisoryLock, acquire_lock
from medtune.serving.storage.tables import audit, replace_nul
from medtune.serving.storage.transactions import HEAD_INFO_KEY, StorePart

_PAGE = 1000


def append_audit_line(
    connection: Connection,
    now: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Detail] | None = None,
) -> AuditLine:
    """Append a line, in the transaction of the action that it records.

    Call it last in the transaction: all writers wait here for each other, so a transaction may wait
    for nothing else afterwards.

    The detail never has a question or a note, since the log outlives them.
    """
    acquire_lock(connection, AdvisoryLock.AUDIT)
    last = read_audit_head(connection)
    line = make_next_line(
        (last.lines, last.hash) if last.lines else None,
        now,
        replace_nul(actor),
        replace_nul(action),
        replace_nul(subject),
        dict(detail or {}),
    )
    connection.execute(insert(audit).values(**line.model_dump()))
    connection.info[HEAD_INFO_KEY] = AuditHead(lines=line.seq, hash=line.hash)
    return line


def read_audit_head(connection: Connection) -> AuditHead:
    """Return the head of the trail."""
    query = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    last = connection.execute(query).first()
    return (
        AuditHead(lines=last.seq, hash=last.hash) if last else AuditHead(lines=0, hash=GENESIS_HASH)
    )


class AuditLog(StorePart):
    """The lines of the audit log."""

    def append(self, actor: str, action: str, subject: str, **detail: Detail) -> AuditLine:
        """Append a line about an action outside the store, such as one on a release."""
        with self._writing() as connection:
            return append_audit_line(connection, self._now(), actor, action, subject, detail)

    def list_lines(self, after: int = 0, limit: int = 1000) -> list[AuditLine]:
        """Read lines in order, beginning after number `after`."""
        with self._lines(after, limit) as lines:
            return list(lines)

    def read_head(self) -> AuditHead:
        """Return the head of the log."""
        with self._reading() as connection:
            return read_audit_head(connection)

    def verify_lines(self) -> int:
        """Verify every line; return their number.

        Raises:
            StoreError: A line was changed, removed or inserted; the first one is named.
        """
        with self._lines() as lines:
            return verify_chain(lines, self._transactions.database.place)

    def verify_heads(self, heads: Sequence[AuditHead], place: str) -> None:
        """Compare the lines with heads that were noted at `place`.

        Raises:
            StoreError: Lines are missing at the end, or were resealed.
        """
        with self._lines() as lines:
            verify_audit_heads(lines, heads, place)

    @contextmanager
    def _lines(self, after: int = 0, limit: int | None = None) -> Iterator[Iterator[AuditLine]]:
        query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)
        with (
            self._reading() as connection,
            connection.execute(query.execution_options(yield_per=_PAGE)) as rows,
        ):
            yield (AuditLine(**row._asdict()) for row in rows)
