"""The audit trail's heads, in a second place: a file beside the store that is only added to.

A chain (`core.schemas.audit`) shows what was changed inside it.  It cannot show that lines were cut off its
end, that all are gone, or that somebody sealed all of it anew.  So every head, the number of lines
and the last hash, is written here as well, and `verify` holds the trail to each of them.  With a
key that lies elsewhere (`MEDTUNE_AUDIT_KEY`) heads are signed, and nobody without it makes others.
Whoever may write to both places can still cut both: heads that were noted elsewhere, from `keys
list`, `monitor report` or the endpoint's log, show that (`audit-log verify --head`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from medtune.core.errors import InputError, StoreError
from medtune.core.records import Record
from medtune.core.schemas.audit import AuditHead, AuditLine

FILE = "audit-heads.jsonl"
KEY = "MEDTUNE_AUDIT_KEY"
"""Variable that holds the key; the store and its folder do not."""
SHORTEST = 32
"""Characters of the key."""


class AnchoredHead(Record):
    """One line of the file."""

    lines: int
    hash: str
    mac: str | None = None
    """Of the two before, by the key; None without one."""


class Anchor:
    """Heads in a file.

    Args:
        path: The file; it need not be there.
        key: Signs them; None leaves them unsigned.
    """

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        self.path, self._key = path, key

    @classmethod
    def beside(cls, folder: Path) -> Anchor:
        """Take the file in a folder, and the key from its variable.

        Raises:
            InputError: The key is too short.
        """
        key = os.environ.get(KEY, "")
        if key and len(key) < SHORTEST:
            raise InputError(f"{KEY} has {len(key)} characters", expected=f"at least {SHORTEST}")
        return cls(folder / FILE, key.encode() or None)

    def at(self, path: Path) -> Anchor:
        """Take another file with the same key."""
        return Anchor(path, self._key)

    def add(self, head: AuditHead) -> None:
        """Write a head behind the others; it is on the disk when this returns.

        Raises:
            StoreError: It cannot be written.
        """
        line = AnchoredHead(lines=head.lines, hash=head.hash, mac=self._mac(head))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write, appended: several processes may share the file.
            place = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(place, line.model_dump_json().encode() + b"\n")
                os.fsync(place)
            finally:
                os.close(place)
        except OSError as error:
            raise StoreError(
                f"{self.path}: the head of the audit trail cannot be noted ({error.strerror})",
                expected="a file that can be written, beside the store",
                fix="mend the folder's permissions, or free some space",
            ) from error

    def heads(self) -> list[AuditHead]:
        """Read the heads, the oldest first; none where there is no file.

        With a key only signed heads count; unsigned ones may stand before the first signed one.

        Raises:
            StoreError: The file cannot be read, or a head is not what was written.
        """
        try:
            rows = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror})") from error
        found: list[AuditHead] = []
        for number, row in enumerate(rows, 1):
            try:
                one = AnchoredHead.model_validate_json(row)
            except ValidationError as error:
                if number == len(rows):
                    break  # a write that was cut off
                raise self._broken(number, "cannot be read") from error
            head = AuditHead(lines=one.lines, hash=one.hash)
            mac = self._mac(head)
            if mac is not None and one.mac is None and not found:
                continue
            if mac is not None and not hmac.compare_digest(mac, one.mac or ""):
                raise self._broken(number, "is not signed with this key")
            found.append(head)
        if rows and not found:
            raise self._broken(len(rows), "is not signed with this key")
        return found

    def _mac(self, head: AuditHead) -> str | None:
        if self._key is None:
            return None
        return hmac.new(self._key, str(head).encode(), hashlib.sha256).hexdigest()

    def _broken(self, number: int, fault: str) -> StoreError:
        return StoreError(
            f"{self.path}: line {number} {fault}",
            expected=f"heads as they were written; {KEY} as it was then",
            fix="keep it as it is, and compare it with a backup",
        )


def hold(lines: Iterable[AuditLine], heads: Sequence[AuditHead], place: str) -> None:
    """Hold lines to heads that were noted elsewhere.

    Args:
        lines: All of a trail, in order.
        heads: What was noted.
        place: Where, for messages.

    Raises:
        StoreError: Lines are missing at the end, or were sealed anew.
    """
    wanted = {head.lines for head in heads}
    found = {line.seq: line.hash for line in lines if line.seq in wanted}
    for head in heads:
        if head.lines and found.get(head.lines) != head.hash:
            fault = "was sealed anew" if head.lines in found else "is gone"
            raise StoreError(
                f"the audit trail is broken: line {head.lines}, noted in {place}, {fault}",
                expected=f"hash {head.hash} at line {head.lines}",
                fix="keep both as they are, and compare them with a backup",
            )
