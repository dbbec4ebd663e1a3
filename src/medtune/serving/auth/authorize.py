"""Who may ask, and how often."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from medtune.serving.schemas import RESERVED, ROLES, ApiKey, Role
from medtune.serving.storage.api_keys import PREFIX, digest

LOCAL_PER_MINUTE = 6000
"""Questions a minute from the loopback interface without a key."""
LONGEST = 200
"""Characters of what can be a key."""
WRONG_PER_MINUTE = 20
"""Wrong keys a minute from one address that are told so; further ones are told to wait."""
MOST_NAMES = 10_000
"""Keys and addresses that are remembered; whoever asked last longest ago is forgotten first."""
KEEP_S = 30.0
"""Seconds for which a key that was looked up is believed: a revoked one works so long at most."""
PROXY = frozenset({
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "client-ip",
    "cf-connecting-ip", "cf-connecting-ipv6", "cf-ray", "cf-visitor", "cf-ipcountry", "cdn-loop",
    "true-client-ip", "fastly-client-ip", "x-envoy-external-address", "x-proxyuser-ip",
    "x-scheme", "x-nginx-proxy", "x-azure-clientip", "x-appengine-user-ip",
})  # fmt: skip
"""Headers that proxies add, beside all that begin with one of `PROXIED`."""
PROXIED = ("x-forwarded", "x-original-", "x-arr-", "x-amzn-", "x-envoy-")


class DeniedError(Exception):
    """A request that may not be made.

    Args:
        status: 401 without a key, 403 with one of a lesser role, 429 too often.
        message: For the asker.
        retry_after_s: When to come again; 429 only.
        known: Whether the caller may ask, and only asked too much.
    """

    def __init__(
        self, status: int, message: str, retry_after_s: float | None = None, *, known: bool = False
    ) -> None:
        super().__init__(message)
        self.known = known
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


@dataclass(frozen=True, slots=True)
class StartToken:
    """A key for whoever started the endpoint: made anew at every start, and kept in memory only.

    Attributes:
        text: Stands in the address that is printed.
        key: What it opens: everything.
    """

    text: str
    key: ApiKey

    @classmethod
    def new(cls) -> Self:
        """Draw one of 256 random bits."""
        key = ApiKey(
            name=RESERVED[1], role="admin", per_minute=LOCAL_PER_MINUTE, created=datetime.now(UTC)
        )
        return cls(PREFIX + secrets.token_urlsafe(32), key)

    def is_text(self, text: str) -> bool:
        """Tell whether this is its text, in a time that tells nothing of it."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.text.encode())

    def is_digest(self, found: str) -> bool:
        """Tell whether this is its hash, as a session keeps it."""
        return hmac.compare_digest(found.encode(), digest(self.text).encode())


@dataclass(slots=True)
class _Bucket:
    """What a caller may still ask."""

    left: float
    at: float


@dataclass
class Authorizer:
    """Admits callers.

    Attributes:
        find: Looks up a key by its text.
        open_on_loopback: Whether this machine's own requests may ask without a key.
        start: The token of this start; None where there is none.
        clock: Seconds, monotonic.
    """

    find: Callable[[str], ApiKey | None]
    open_on_loopback: bool = True
    start: StartToken | None = None
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    _wrong: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    """By address."""
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
            if role != "ask":  # a proxy may stand before it and say nothing of it
                raise DeniedError(
                    401,
                    f"this needs a key with the role {role}, or the address that `medtune serve` "
                    "printed when it started",
                )
            self._spend(self._buckets, "", LOCAL_PER_MINUTE, cost)
            return None
        key = self._found(secret) if len(secret) <= LONGEST else None
        if key is None or key.revoked is not None:
            self._spend(self._wrong, network(host), WRONG_PER_MINUTE, 1, "wrong keys")
            raise DeniedError(401, "this key is not known, or was revoked")
        if ROLES.index(key.role) < ROLES.index(role):
            raise DeniedError(403, f"this needs the role {role}, the key has {key.role}")
        self._spend(self._buckets, key.name, key.per_minute, cost)
        return key.name

    def knows(self, secret: str | None) -> bool:
        """Tell whether a caller is let in or not without a look into the store."""
        return secret is None or self._kept(secret) is not None

    def _kept(self, secret: str) -> tuple[float, ApiKey | None] | None:
        kept = self._known.get(secret)
        return kept if kept is not None and kept[0] >= self.clock() - KEEP_S else None

    def _found(self, secret: str) -> ApiKey | None:
        if self.start is not None and self.start.is_text(secret):
            return self.start.key
        kept = self._kept(secret)
        if kept is None:
            kept = (self.clock(), self.find(secret))
            if len(self._known) > MOST_NAMES:
                self._known.clear()
            self._known[secret] = kept
        return kept[1]

    def _spend(
        self,
        buckets: OrderedDict[str, _Bucket],
        name: str,
        per_minute: int,
        cost: int,
        what: str = "questions",
    ) -> None:
        """Take from a bucket that holds a minute's questions and is filled steadily."""
        known = buckets is self._buckets
        if cost > per_minute:  # no wait is long enough
            raise DeniedError(429, f"{cost} {what} at once, of {per_minute} a minute", known=known)
        with self._turn:
            now = self.clock()
            bucket = buckets.setdefault(name, _Bucket(per_minute, now))
            buckets.move_to_end(name)
            while len(buckets) > MOST_NAMES:
                buckets.popitem(last=False)
            bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / 60)
            bucket.at = now
            if bucket.left < cost:
                wait = (cost - bucket.left) * 60 / per_minute
                raise DeniedError(429, f"more than {per_minute} {what} a minute", wait, known=known)
            bucket.left -= cost


def is_forwarded(names: Iterable[str]) -> bool:
    """Tell by its headers' names whether a request came through a proxy.

    One that adds none of them is not known for one: behind it, callers look like this machine's.
    """
    return any(name in PROXY or name.startswith(PROXIED) for name in map(str.lower, names))


def network(host: str | None) -> str:
    """Name what is counted as one address: of IPv6, the network that one customer has (/64)."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


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
