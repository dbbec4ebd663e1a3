"""Anchor the heads of the audit trail in an append-only file beside the store.

The hash chain (`core.schemas.audit`) shows changes inside the trail. It cannot show that lines were
cut off its end, that all are gone, or that somebody resealed the whole chain. So every head, the
number of lines and the last hash, is written here as well, and `verify_audit_heads` compares the
trail with each of them. With a key that is stored elsewhere (`MEDTUNE_AUDIT_KEY`), heads are
signed. Whoever can write to both places can still truncate both; heads noted elsewhere, from
`keys list`, `monitor report` or the endpoint's log, show that (`audit-log verify --head`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from medtune.core.errors import StoreError
from medtune.core.records import Record
from medtune.core.schemas.audit import AuditHead, AuditLine
from medtune.serving.data_dir import read_secret_variable

HEADS_FILE = "audit-heads.jsonl"
KEY_VARIABLE = "MEDTUNE_AUDIT_KEY"
"""Environment variable with the key, which is neither in the store nor in its folder."""


class AnchoredHead(Record):
    """One line of the file."""

    lines: int
    hash: str
    mac: str | None = None
    """HMAC of the two fields above; None without a key."""


class Anchor:
    """Audit heads in a file, which may be missing; without a key they are not signed."""

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        self.path, self._key = path, key

    @classmethod
    def from_folder(cls, folder: Path) -> Anchor:
        """Create the anchor of a folder, with the key of the environment variable.

        Raises:
            InputError: The key is too short.
        """
        return cls(folder / HEADS_FILE, read_secret_variable(KEY_VARIABLE) or None)

    def with_path(self, path: Path) -> Anchor:
        """Return an anchor with another file and the same key."""
        return Anchor(path, self._key)

    def append_head(self, head: AuditHead) -> None:
        """Append a head; it is on disk when this returns.

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
                fix="fix the folder's permissions, or free some space",
            ) from error

    def read_heads(self) -> list[AuditHead]:
        """Read the heads, the oldest first; an empty list without a file.

        With a key, unsigned heads are ignored before the first signed one, and an error after it.

        Raises:
            StoreError: The file cannot be read, or a head is damaged or wrongly signed.
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
                raise self._head_error(number, "cannot be read") from error
            head = AuditHead(lines=one.lines, hash=one.hash)
            mac = self._mac(head)
            if mac is not None and one.mac is None and not found:
                continue
            if mac is not None and not hmac.compare_digest(mac, one.mac or ""):
                raise self._head_error(number, "is not signed with this key")
            found.append(head)
        if rows and not found:
            raise self._head_error(len(rows), "is not signed with this key")
        return found

    def _mac(self, head: AuditHead) -> str | None:
        if self._key is None:
            return None
        return hmac.new(self._key, str(head).encode(), hashlib.sha256).hexdigest()

    def _head_error(self, number: int, fault: str) -> StoreError:
        return StoreError(
            f"{self.path}: line {number} {fault}",
            expected=f"heads as they were written; {KEY_VARIABLE} as it was then",
            fix="keep it as it is, and compare it with a backup",
        )


def verify_audit_heads(lines: Iterable[AuditLine], heads: Sequence[AuditHead], place: str) -> None:
    """Compare all audit lines, in order, with heads that were noted at `place`.

    Raises:
        StoreError: Lines are missing at the end, or were resealed.
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
