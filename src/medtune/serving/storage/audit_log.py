"""The audit trail in the database: who did what, in a chain (`core.schemas.audit`)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import datetime

from sqlalchemy import Connection, insert, select

from medtune.core.schemas.audit import FIRST, AuditHead, AuditLine, Detail, checked, following
from medtune.serving.storage.database import AdvisoryLock, take_turn
from medtune.serving.storage.tables import audit, plain

HEAD = "medtune_audit_head"
"""Where a connection keeps the head that its transaction makes."""
_PAGE = 1000


def append(
    connection: Connection,
    now: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: dict[str, Detail] | None = None,
) -> AuditLine:
    """Add a line, in the transaction of what it tells of.

    It comes last in its transaction: all writers wait here for each other, so nobody may wait for
    anything else from here on.

    Args:
        connection: In a transaction that writes.
        now: The time.
        actor: Who did it.
        action: What was done.
        subject: To what.
        detail: More; never a text that was asked or noted, for the trail outlives them.
    """
    take_turn(connection, AdvisoryLock.AUDIT)
    last = head(connection)
    line = following(
        (last.lines, last.hash) if last.lines else None,
        now,
        plain(actor),
        plain(action),
        plain(subject),
        detail or {},
    )
    connection.execute(insert(audit).values(**line.model_dump()))
    connection.info[HEAD] = AuditHead(lines=line.seq, hash=line.hash)
    return line


def head(connection: Connection) -> AuditHead:
    """Tell where the trail ends."""
    query = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    last = connection.execute(query).first()
    return AuditHead(lines=last.seq, hash=last.hash) if last else AuditHead(lines=0, hash=FIRST)


def lines(
    connection: Connection, after: int = 0, limit: int | None = None
) -> Generator[AuditLine, None, None]:
    """Read lines in order.

    Args:
        connection: To read from.
        after: Number of the line before the first.
        limit: How many at most.
    """
    query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as rows:
        for row in rows:
            yield AuditLine(**row._asdict())


def verified(connection: Connection, place: str) -> int:
    """Count the lines, and check every one of them.

    Raises:
        StoreError: A line is changed, missing or put in; the first is named.
    """
    with closing(lines(connection)) as rest:
        return checked(rest, place)
