"""Who may ask, and how often."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from medtune.core.served import ROLES, ApiKey, Role

LOCAL_PER_MINUTE = 6000
"""Questions a minute from the loopback interface without a key."""
LONGEST = 200
"""Characters of what can be a key."""
KEEP_S = 30.0
"""Seconds for which a key that was looked up is believed: a revoked one works so long at most."""


class DeniedError(Exception):
    """A request that may not be made.

    Args:
        status: 401 without a key, 403 with one of a lesser role, 429 too often.
        message: For the asker.
        retry_after_s: When to come again; 429 only.
    """

    def __init__(self, status: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


@dataclass(slots=True)
class _Bucket:
    """What a caller may still ask."""

    left: float
    at: float


@dataclass
class Gatekeeper:
    """Admits callers.

    Attributes:
        find: Looks up a key by its text.
        open_on_loopback: Whether this machine's own requests need no key.
        clock: Seconds, monotonic.
    """

    find: Callable[[str], ApiKey | None]
    open_on_loopback: bool = True
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _known: dict[str, tuple[float, ApiKey | None]] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def admit(
        self, secret: str | None, host: str | None, forwarded: bool, role: Role, cost: int = 1
    ) -> str | None:
        """Let a caller in.

        Args:
            secret: Text of the key, where one was sent.
            host: Address of the caller.
            forwarded: Whether a proxy stands before it: then the address is the proxy's.
            role: What the request needs.
            cost: Questions in it.

        Returns:
            The key's name; None for a caller on the loopback interface.

        Raises:
            DeniedError: It may not be made, or not now.
        """
        if secret is None:
            if not (self.open_on_loopback and is_loopback(host) and not forwarded):
                raise DeniedError(401, "a key is needed: Authorization: Bearer mt_...")
            self._spend("", LOCAL_PER_MINUTE, cost)
            return None
        key = self._found(secret) if len(secret) <= LONGEST else None
        if key is None or key.revoked is not None:
            raise DeniedError(401, "this key is not known, or was revoked")
        if ROLES.index(key.role) < ROLES.index(role):
            raise DeniedError(403, f"this needs the role {role}, the key has {key.role}")
        self._spend(key.name, key.per_minute, cost)
        return key.name

    def _found(self, secret: str) -> ApiKey | None:
        now = self.clock()
        kept = self._known.get(secret)
        if kept is None or kept[0] < now - KEEP_S:
            kept = (now, self.find(secret))
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[secret] = kept
        return kept[1]

    def _spend(self, name: str, per_minute: int, cost: int) -> None:
        """Take from a bucket that holds a minute's questions and is filled steadily."""
        with self._turn:
            now = self.clock()
            bucket = self._buckets.setdefault(name, _Bucket(per_minute, now))
            bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / 60)
            bucket.at = now
            if bucket.left < min(cost, per_minute):
                wait = (min(cost, per_minute) - bucket.left) * 60 / per_minute
                raise DeniedError(429, f"more than {per_minute} questions a minute", wait)
            bucket.left -= cost


def is_loopback(host: str | None) -> bool:
    """Tell whether an address is this machine's own."""
    if host is None:  # a Unix socket
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
