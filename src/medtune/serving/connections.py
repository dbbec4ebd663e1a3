"""HTTP connections with deadlines and with limits on their number.

uvicorn closes connections that are idle between two requests, and limits nothing else. Here a head,
a body and an unread reply have deadlines, and the number of connections is limited, in all and per
address. At the limit, a new connection replaces the one that has waited longest without a complete
request, so half-open connections keep nobody out.

Heads and bodies are limited as well: a few bytes can take long to parse, and all others wait.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from medtune.serving.auth.authorize import client_network
from medtune.serving.middleware import log

MAX_CONNECTIONS = 1024
"""Most connections at once."""
MAX_PER_ADDRESS = 512
"""Most connections from one address; behind a proxy all have the proxy's."""
HEAD_TIMEOUT_S = 10.0
"""Longest that the head of a request may take, from the first byte or the connection."""
BODY_TIMEOUT_S = 30.0
"""Longest that a body may take."""
READ_TIMEOUT_S = 30.0
"""Longest that a client may leave a reply unread."""
MAX_HEAD_BYTES = 16 * 1024
"""Most bytes of a head."""
MAX_HEADER_LINES = 100
"""Most lines of a head."""
MAX_BODY_PIECES = 2048
"""Most pieces of a body: one of a single byte takes as much time as one of 64 KiB."""
_BLANK_LINE = re.compile(rb"\n\r?\n")
LOG_INTERVAL_S = 60.0
"""Seconds between log lines about closed connections."""
BUSY_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
TIMEOUT_RESPONSE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
Phase = Literal["head", "body", "answer", "idle"]
"""What a connection waits for; idle is between two requests, where uvicorn has a deadline."""


@dataclass
class ConnectionLimits:
    """The connections of one endpoint, and their limits.

    Attributes:
        max_connections: Most connections.
        max_per_address: Most connections from one address.
        head_s: Longest that a head may take.
        body_s: Longest that a body may take.
        read_s: Longest that a reply may be left unread.
    """

    max_connections: int = MAX_CONNECTIONS
    max_per_address: int = MAX_PER_ADDRESS
    head_s: float = HEAD_TIMEOUT_S
    body_s: float = BODY_TIMEOUT_S
    read_s: float = READ_TIMEOUT_S
    _count: Counter[str] = field(default_factory=Counter)
    """Number of connections, by address."""
    _unfinished: dict[str, dict[Connection, None]] = field(default_factory=dict)
    """Connections without a complete request, by address, the longest waiting first."""
    _told: dict[str, tuple[float, int]] = field(default_factory=dict)

    def acquire_slot(self, address: str) -> bool:
        """Accept a connection if there is room; another may be closed for it."""
        if self._count[address] >= self.max_per_address:
            fits = self._evict_oldest(self._unfinished.get(address, {}))
        else:
            fits = self._count.total() < self.max_connections or self._evict_oldest(
                self._most_waiting()
            )
        if not fits:
            self.count_event("refused")
            return False
        self._count[address] += 1
        return True

    def release_slot(self, one: Connection, address: str) -> None:
        """Remove a connection."""
        self.mark_complete(one, address)
        self._count[address] -= 1
        if not self._count[address]:
            del self._count[address]

    def mark_incomplete(self, one: Connection, address: str) -> None:
        """Mark a connection as having no complete request."""
        self._unfinished.setdefault(address, {})[one] = None

    def mark_complete(self, one: Connection, address: str) -> None:
        """Mark a connection as having a complete request, or as closed."""
        mine = self._unfinished.get(address, {})
        mine.pop(one, None)
        if not mine:
            self._unfinished.pop(address, None)

    def count_event(self, what: str) -> None:
        """Count an event, and log it at most once per `LOG_INTERVAL_S`."""
        last, count = self._told.get(what, (-LOG_INTERVAL_S, 0))
        now, count = time.monotonic(), count + 1
        if now - last >= LOG_INTERVAL_S:
            log.warning("connections", why=what, count=count, open=self._count.total())
            last, count = now, 0
        self._told[what] = (last, count)

    def _most_waiting(self) -> dict[Connection, None]:
        """Return the incomplete connections of the address that has most of them."""
        return max(self._unfinished.values(), key=len, default={})

    def _evict_oldest(self, waiting: dict[Connection, None]) -> bool:
        oldest = next(iter(waiting), None)
        if oldest is None:
            return False
        self.count_event("pushed out")
        oldest.evict()
        return True


class _Bounded(h11.Connection):
    """An h11 connection that limits the size of a head and the number of pieces of a body."""

    _pieces = 0

    def next_event(self) -> Any:
        """Return the next event of the received data.

        Raises:
            RemoteProtocolError: The data is not HTTP, or exceeds a limit.
        """
        if self.their_state is h11.IDLE:
            waiting, _ = self.trailing_data
            end = _BLANK_LINE.search(waiting, 0, MAX_HEAD_BYTES)
            if end is None and len(waiting) > MAX_HEAD_BYTES:
                raise h11.RemoteProtocolError("the head is too long", 431)
            if waiting.count(b"\n", 0, end.start() if end else MAX_HEAD_BYTES) > MAX_HEADER_LINES:
                raise h11.RemoteProtocolError("the head has too many lines", 431)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = 0
        elif isinstance(event, h11.Data):
            self._pieces += 1
            if self._pieces > MAX_BODY_PIECES:
                raise h11.RemoteProtocolError("the body has too many pieces")
        return event


class Connection(H11Protocol):
    """One HTTP connection with deadlines."""

    limits: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Bounded(h11.SERVER, MAX_HEAD_BYTES)
        self._address = ""
        self._begun = self._counted = False
        self._phase: tuple[Phase, object] = ("idle", None)
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection if there is room."""
        peer = transport.get_extra_info("peername")
        self._address = client_network(str(peer[0])) if isinstance(peer, tuple) else ""
        if not self.limits.acquire_slot(self._address):
            transport.write(BUSY_RESPONSE)
            transport.close()
            return
        self._begun = self._counted = True
        super().connection_made(transport)
        self._enter_phase("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection."""
        if self._begun:
            self._release_slot()
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        if not self._counted:  # being closed
            return
        super().data_received(data)
        self._update_phase("head")

    def send_400_response(self, msg: str) -> None:
        """Reject invalid HTTP with a 400; only close the connection if a reply was begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        super().on_response_complete()
        self._update_phase("idle")

    def pause_writing(self) -> None:
        """Wait for a slow reader, with a deadline."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.read_s, self._close, "unread", True)

    def resume_writing(self) -> None:
        """Continue writing."""
        super().resume_writing()
        _cancel(self._unread)

    def evict(self) -> None:
        """Close at once, to make room for another connection."""
        self._release_slot()
        self.transport.abort()

    def _update_phase(self, empty: Phase) -> None:
        """Update the phase; `empty` is the phase without a head."""
        if not self._counted or self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            self._enter_phase(empty)
        else:
            self._enter_phase("body" if self.conn.their_state is h11.SEND_BODY else "answer")

    def _enter_phase(self, phase: Phase) -> None:
        if self._phase == (phase, self.cycle):
            return
        self._phase = (phase, self.cycle)
        _cancel(self._deadline)
        if phase == "answer":
            self.limits.mark_complete(self, self._address)
            return
        self.limits.mark_incomplete(self, self._address)
        if phase != "idle":
            seconds = self.limits.head_s if phase == "head" else self.limits.body_s
            self._deadline = self.loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        """Close a connection past its deadline, with a 408 if no reply was begun."""
        phase, _ = self._phase
        if phase == "head" or not self.cycle.response_started:
            self.transport.write(TIMEOUT_RESPONSE)
        self._close(f"late {phase}")

    def _close(self, why: str, hard: bool = False) -> None:
        self.limits.count_event(why)
        if hard or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _release_slot(self) -> None:
        """Cancel the deadlines, and release the slot."""
        _cancel(self._deadline)
        _cancel(self._unread)
        if self._counted:
            self._counted = False
            self.limits.release_slot(self, self._address)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
