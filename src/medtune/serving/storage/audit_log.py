"""The audit trail in the database, as a hash chain (`core.schemas.audit`)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
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
from medtune.serving.storage.database import AdvisoryLock, acquire_lock
from medtune.serving.storage.tables import audit, replace_nul

HEAD_INFO_KEY = "medtune_audit_head"
"""Key in a connection's `info` of the head that its transaction writes."""
_PAGE = 1000


def append_audit_line(
    connection: Connection,
    now: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: dict[str, Detail] | None = None,
) -> AuditLine:
    """Append a line, in the transaction of the action that it records.

    Call it last in the transaction: all writers wait here for each other, so a transaction may wait
    for nothing else afterwards.

    Args:
        connection: Connection in a write transaction.
        now: The current time.
        actor: Who acts.
        action: Name of the action.
        subject: Id or name of its object.
        detail: Further values; never a question or a note, since the trail outlives them.
    """
    acquire_lock(connection, AdvisoryLock.AUDIT)
    last = read_audit_head(connection)
    line = make_next_line(
        (last.lines, last.hash) if last.lines else None,
        now,
        replace_nul(actor),
        replace_nul(action),
        replace_nul(subject),
        detail or {},
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


def iter_audit_lines(
    connection: Connection, after: int = 0, limit: int | None = None
) -> Generator[AuditLine, None, None]:
    """Yield lines in order.

    Args:
        connection: Connection to read from.
        after: Number of the line before the first one.
        limit: Most lines; None for all.
    """
    query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)
    with connection.execute(query.execution_options(yield_per=_PAGE)) as rows:
        for row in rows:
            yield AuditLine(**row._asdict())


def verify_audit_lines(connection: Connection, place: str) -> int:
    """Verify every line; return their number.

    Raises:
        StoreError: A line was changed, removed or inserted; the first one is named.
    """
    with closing(iter_audit_lines(connection)) as rest:
        return verify_chain(rest, place)
