"""The audit trail in the database: who did what, in a chain (`core.chain`)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import datetime

from sqlalchemy import Connection, insert, select

from medtune.core.chain import Detail, checked, following
from medtune.core.served import AuditLine
from medtune.serving.database import Turn, take_turn
from medtune.serving.tables import audit, plain

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
    take_turn(connection, Turn.AUDIT)
    last = connection.execute(
        select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    ).first()
    line = following(
        (last.seq, last.hash) if last else None,
        now,
        plain(actor),
        plain(action),
        plain(subject),
        detail or {},
    )
    connection.execute(insert(audit).values(**line.model_dump()))
    return line


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
