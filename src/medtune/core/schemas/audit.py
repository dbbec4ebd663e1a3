"""Audit lines of which each seals the one before it.

Whoever changes, drops or adds a line in between breaks the chain, and `checked` names the place.
Lines cut off the end leave a chain that holds, and so does one that is sealed anew: heads that were
noted elsewhere show both (`serving.storage.audit_heads`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from medtune.core.errors import InputError, StoreError
from medtune.core.records import Record, content_hash


class AuditLine(Record):
    """One line of the audit trail; each hash covers the one before it."""

    seq: int
    time: datetime
    actor: str
    action: str
    subject: str
    """What was acted on: a request, a key, a release."""
    detail: dict[str, str | int | float | bool | None]
    before: str
    """Hash of the line before; 64 zeros for the first."""
    hash: str


class AuditHead(Record):
    """Where an audit trail ends; noted elsewhere, it shows what was cut off or sealed anew."""

    lines: int
    hash: str
    """Of the last line; 64 zeros where there is none."""

    def __str__(self) -> str:
        return f"{self.lines}:{self.hash}"


FIRST = "0" * 64
"""Stands for the hash of the line before the first."""
Detail = str | int | float | bool | None


def following(
    last: tuple[int, str] | None,
    now: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: dict[str, Detail],
) -> AuditLine:
    """Write the line that follows another.

    Args:
        last: Number and hash of the line before; None for the first.
        now: The time.
        actor: Who did it.
        action: What was done.
        subject: To what.
        detail: More; never a text that was asked or noted, for the trail outlives them.
    """
    seq, before = last or (0, FIRST)
    line = AuditLine(
        seq=seq + 1,
        time=now.astimezone(UTC),
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
        before=before,
        hash="",
    )
    return line.model_copy(update={"hash": seal(line)})


def seal(line: AuditLine) -> str:
    """Hash a line without its hash, the hash of the line before included; 64 hex digits."""
    return content_hash(line.model_dump(mode="json", exclude={"hash"}))


def checked(lines: Iterable[AuditLine], place: str) -> int:
    """Count lines, and check every one of them.

    Args:
        lines: In order; reading one may raise a ValueError.
        place: Where they stand, for messages.

    Raises:
        StoreError: A line is changed, missing or put in; the first is named.
    """
    seq, before, rest = 0, FIRST, iter(lines)
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


def head_of(text: str) -> AuditHead:
    """Read a head as it is printed: number of lines, colon, hash.

    Raises:
        InputError: It is none.
    """
    lines, _, found = text.strip().partition(":")
    if not lines.isdecimal() or re.fullmatch("[0-9a-f]{64}", found) is None:
        raise InputError(
            f"no head of an audit trail: {text[:80]}",
            expected="lines:hash, as `medtune keys list` prints it",
        )
    return AuditHead(lines=int(lines), hash=found)


def _broken(place: str, seq: int, fault: str) -> StoreError:
    return StoreError(
        f"{place}: the audit trail is broken: line {seq} {fault}",
        expected="lines that nobody touched since they were written",
        fix="keep it as it is, and compare it with a backup",
    )
