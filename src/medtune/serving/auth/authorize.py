"""Authenticate callers and limit their rate."""

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

from medtune.serving.schemas import OPERATOR, ROLES, ApiKey, Role
from medtune.serving.storage.api_keys import KEY_PREFIX, hash_key

LOCAL_PER_MINUTE = 6000
"""Questions a minute from the loopback interface without a key."""
MAX_KEY_LENGTH = 200
"""Longest text, in characters, that can be a key."""
WRONG_KEYS_PER_MINUTE = 20
"""Wrong keys a minute from one address that get a 401; further ones get a 429."""
MAX_TRACKED_CALLERS = 10_000
"""Keys and addresses in the rate limiter; the least recently used one is dropped first."""
KEY_CACHE_S = 30.0
"""Seconds for which a looked-up key is cached: a revoked key works this long at most."""
PROXY_HEADERS = frozenset({
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "client-ip",
    "cf-connecting-ip", "cf-connecting-ipv6", "cf-ray", "cf-visitor", "cf-ipcountry", "cdn-loop",
    "true-client-ip", "fastly-client-ip", "x-envoy-external-address", "x-proxyuser-ip",
    "x-scheme", "x-nginx-proxy", "x-azure-clientip", "x-appengine-user-ip",
})  # fmt: skip
"""Headers that proxies add, besides those that begin with one of `PROXY_HEADER_PREFIXES`."""
PROXY_HEADER_PREFIXES = ("x-forwarded", "x-original-", "x-arr-", "x-amzn-", "x-envoy-")


class DeniedError(Exception):
    """A request that is not allowed.

    Args:
        status: 401 without a valid key, 403 without the role, 429 over the rate limit.
        message: For the caller.
        retry_after_s: Seconds after which to try again; 429 only.
        authorized: Whether the caller is authorized and only over the rate limit.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after_s: float | None = None,
        *,
        authorized: bool = False,
    ) -> None:
        super().__init__(message)
        self.authorized = authorized
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


@dataclass(frozen=True, slots=True)
class StartToken:
    """An admin key of whoever started the endpoint; new at every start, in memory only.

    Attributes:
        text: Token in the printed address.
        key: The key that it stands for, with the role admin.
    """

    text: str
    key: ApiKey

    @classmethod
    def create(cls) -> Self:
        """Create a token of 256 random bits."""
        key = ApiKey(
            name=OPERATOR,
            role="admin",
            per_minute=LOCAL_PER_MINUTE,
            created=datetime.now(UTC),
        )
        return cls(KEY_PREFIX + secrets.token_urlsafe(32), key)

    def matches_text(self, text: str) -> bool:
        """Return whether a text is the token, in constant time."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.text.encode())

    def matches_digest(self, found: str) -> bool:
        """Return whether a hash, as stored with a session, is the token's."""
        return hmac.compare_digest(found.encode(), hash_key(self.text).encode())


@dataclass(slots=True)
class _Bucket:
    """The questions that a caller has left."""

    left: float
    at: float


@dataclass
class Authorizer:
    """Authenticates callers by key, role and rate limit.

    Attributes:
        find_key: Looks up a key by its text.
        open_on_loopback: Whether requests of this machine may ask without a key.
        start: The start token; None without one.
        clock: Monotonic clock in seconds.
    """

    find_key: Callable[[str], ApiKey | None]
    open_on_loopback: bool = True
    start: StartToken | None = None
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    _failed_buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    """By address."""
    _cache: dict[str, tuple[float, ApiKey | None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(
        self, secret: str | None, host: str | None, forwarded: bool, role: Role, cost: int = 1
    ) -> str | None:
        """Authenticate a caller, and charge the cost, in questions, against its rate limit.

        If the request was forwarded by a proxy, `host` is the proxy's address.

        Returns:
            The key's name; None for a caller on the loopback interface.

        Raises:
            DeniedError: The request is not allowed, or not now.
        """
        if secret is None:
            if not (self.open_on_loopback and is_loopback(host) and not forwarded):
                raise DeniedError(401, "a key is required: Authorization: Bearer mt_...")
            if role != "ask":  # a proxy may forward it without adding a header
                raise DeniedError(
                    401,
                    f"this needs a key with the role {role}, or the address that `medtune serve` "
                    "printed when it started",
                )
            self._take_tokens(self._buckets, "", LOCAL_PER_MINUTE, cost)
            return None
        key = self._look_up(secret) if len(secret) <= MAX_KEY_LENGTH else None
        if key is None or key.revoked is not None:
            self._take_tokens(
                self._failed_buckets, client_network(host), WRONG_KEYS_PER_MINUTE, 1, "wrong keys"
            )
            raise DeniedError(401, "this key is unknown or revoked")
        return self.admit_key(key, role, cost)

    def admit_key(self, key: ApiKey, role: Role, cost: int = 1) -> str:
        """Charge the cost against the rate limit of a valid key, and return its name.

        Raises:
            DeniedError: The key lacks the role, or is over its limit.
        """
        if ROLES.index(key.role) < ROLES.index(role):
            raise DeniedError(403, f"this requires the role {role}, the key has {key.role}")
        self._take_tokens(self._buckets, key.name, key.per_minute, cost)
        return key.name

    def needs_no_lookup(self, secret: str | None) -> bool:
        """Return whether a caller can be authenticated without a look-up in the store."""
        return secret is None or self._cached(secret) is not None

    def _cached(self, secret: str) -> tuple[float, ApiKey | None] | None:
        kept = self._cache.get(secret)
        return kept if kept is not None and kept[0] >= self.clock() - KEY_CACHE_S else None

    def _look_up(self, secret: str) -> ApiKey | None:
        if self.start is not None and self.start.matches_text(secret):
            return self.start.key
        kept = self._cached(secret)
        if kept is None:
            kept = (self.clock(), self.find_key(secret))
            if len(self._cache) > MAX_TRACKED_CALLERS:
                self._cache.clear()
            self._cache[secret] = kept
        return kept[1]

    def _take_tokens(
        self,
        buckets: OrderedDict[str, _Bucket],
        name: str,
        per_minute: int,
        cost: int,
        what: str = "questions",
    ) -> None:
        """Take tokens from a bucket that holds a minute's questions and refills steadily."""
        authorized = buckets is self._buckets
        if cost > per_minute:  # no wait is long enough
            raise DeniedError(
                429, f"{cost} {what} at once, of {per_minute} a minute", authorized=authorized
            )
        with self._lock:
            now = self.clock()
            bucket = buckets.setdefault(name, _Bucket(per_minute, now))
            buckets.move_to_end(name)
            while len(buckets) > MAX_TRACKED_CALLERS:
                buckets.popitem(last=False)
            bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / 60)
            bucket.at = now
            if bucket.left < cost:
                wait = (cost - bucket.left) * 60 / per_minute
                raise DeniedError(
                    429, f"more than {per_minute} {what} a minute", wait, authorized=authorized
                )
            bucket.left -= cost


def is_forwarded(names: Iterable[str]) -> bool:
    """Return whether a request's header names show that it came through a proxy.

    A proxy that adds none of these headers goes unnoticed: callers behind it look local.
    """
    return any(
        name in PROXY_HEADERS or name.startswith(PROXY_HEADER_PREFIXES)
        for name in map(str.lower, names)
    )


def client_network(host: str | None) -> str:
    """Return the address to count a client by: of IPv6, the /64 network of one customer."""
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
    """Return whether an address is a loopback address."""
    if host is None:  # a Unix socket
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
