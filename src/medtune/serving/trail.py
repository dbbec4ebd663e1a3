"""The audit trail: who did what, in lines of which each seals the one before it.

Whoever changes, drops or adds a line in between breaks the chain, and `verified` names the place.
Lines cut off the end leave a chain that holds: compare the number of lines, or the last hash, with
one that was noted elsewhere.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from medtune.core.errors import StoreError
from medtune.core.records import content_hash
from medtune.core.served import AuditLine
from medtune.serving.database import Turn, take_turn
from medtune.serving.tables import audit, plain

FIRST = "0" * 64
"""Stands for the hash of the line before the first."""
Detail = str | int | float | bool | None
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
    line = AuditLine(
        seq=last.seq + 1 if last else 1,
        time=now.astimezone(UTC),
        actor=plain(actor),
        action=plain(action),
        subject=plain(subject),
        detail=detail or {},
        before=last.hash if last else FIRST,
        hash="",
    )
    line = line.model_copy(update={"hash": seal(line)})
    connection.execute(insert(audit).values(**line.model_dump()))
    return line


def seal(line: AuditLine) -> str:
    """Hash a line without its hash, the hash of the line before included; 64 hex digits."""
    return content_hash(line.model_dump(mode="json", exclude={"hash"}))


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
        return _count(rest, place)


def _count(rest: Iterator[AuditLine], place: str) -> int:
    seq, before = 0, FIRST
    while True:
        try:
            line = next(rest, None)
        except ValueError as error:  # neither JSON, nor a time, nor a line
            raise _broken(place, seq + 1, "cannot be read") from error
        if line is None:
            return seq
        seq += 1
        if line.seq != seq:
            raise _broken(place, seq, "is missing")
        if line.before != before:
            raise _broken(place, seq, "does not follow the one before it")
        if line.hash != seal(line):
            raise _broken(place, seq, "was changed")
        before = line.hash


def _broken(place: str, seq: int, fault: str) -> StoreError:
    return StoreError(
        f"{place}: the audit trail is broken: line {seq} {fault}",
        expected="lines that nobody touched since they were written",
        fix="keep the database as it is, and compare it with a backup",
    )
