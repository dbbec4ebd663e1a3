"""Hash chain of an audit trail: every line includes the hash of the line before.

Changing, removing or inserting a line breaks the chain, and its verification names the place.
Truncation at the end and hashing the whole chain anew are not visible in the chain itself: heads
that were saved elsewhere show both (`serving.storage.audit_heads`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from medtune.core.errors import InputError, StoreError
from medtune.core.records import Record, content_hash


class AuditLine(Record):
    """One line of the audit trail; its hash covers the hash of the line before."""

    seq: int
    time: datetime
    actor: str
    action: str
    subject: str
    """Object of the action: a request, a key, a release."""
    detail: dict[str, str | int | float | bool | None]
    before: str
    """Hash of the line before; 64 zeros for the first."""
    hash: str


class AuditHead(Record):
    """Length and last hash of an audit trail; saved elsewhere, it shows later manipulation."""

    lines: int
    hash: str
    """Hash of the last line; 64 zeros if there is none."""

    def __str__(self) -> str:
        return f"{self.lines}:{self.hash}"


GENESIS_HASH = "0" * 64
"""Previous hash of the first line."""
Detail = str | int | float | bool | None


def make_next_line(
    last: tuple[int, str] | None,
    now: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: dict[str, Detail],
) -> AuditLine:
    """Make the audit line that follows the line of this number and hash, None for the first.

    The details never hold the text of a question or note, since the trail is kept longer.
    """
    seq, before = last or (0, GENESIS_HASH)
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
    return line.model_copy(update={"hash": hash_line(line)})


def hash_line(line: AuditLine) -> str:
    """Hash all fields of a line but its hash, the previous hash included; 64 hex digits."""
    return content_hash(line.model_dump(mode="json", exclude={"hash"}))


def verify_chain(lines: Iterable[AuditLine], place: str) -> int:
    """Verify the hash chain of lines, whose iterator may raise a ValueError, and count them.

    Raises:
        StoreError: A line was changed, removed or inserted; the first one is named.
    """
    seq, before, rest = 0, GENESIS_HASH, iter(lines)
    while True:
        try:
            line = next(rest, None)
        except ValueError as error:  # neither JSON, nor a time, nor a line
            raise _broken_chain_error(place, seq + 1, "cannot be read") from error
        if line is None:
            return seq
        seq += 1
        if line.seq != seq:
            raise _broken_chain_error(place, seq, "is missing")
        if line.before != before:
            raise _broken_chain_error(place, seq, "does not follow the one before it")
        if line.hash != hash_line(line):
            raise _broken_chain_error(place, seq, "was changed")
        before = line.hash


def parse_head(text: str) -> AuditHead:
    """Parse a printed head: number of lines, colon, hash.

    Raises:
        InputError: The text is not a head.
    """
    lines, _, found = text.strip().partition(":")
    if not lines.isdecimal() or re.fullmatch("[0-9a-f]{64}", found) is None:
        raise InputError(
            f"no head of an audit trail: {text[:80]}",
            expected="lines:hash, as `medtune keys list` prints it",
        )
    return AuditHead(lines=int(lines), hash=found)


def _broken_chain_error(place: str, seq: int, fault: str) -> StoreError:
    return StoreError(
        f"{place}: the audit trail is broken: line {seq} {fault}",
        expected="lines unchanged since they were written",
        fix="keep it as it is, and compare it with a backup",
    )
