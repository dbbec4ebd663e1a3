"""Connections: how many there may be, and how long each may take over what it sends and reads.

uvicorn closes what is idle between two requests and nothing else.  Here a head, a body and the
reading of an answer have deadlines, and there is room for so many connections, of one address for
fewer.  Whoever comes when the room is full takes the place of the one that has waited longest with
a request that is not whole; so half-open connections keep nobody out.

Work is bounded as well: what a head or a body of few bytes can cost, all others wait for.
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

from medtune.serving.auth.authorize import network
from medtune.serving.middleware import log

MOST = 1024
"""Connections at once."""
MOST_OF_ONE = 512
"""Connections of one address; all that come by a proxy have the proxy's."""
HEAD_S = 10.0
"""Longest that the head of a request may take: from its first byte, or from the connection on."""
BODY_S = 30.0
"""Longest that a body may take."""
READ_S = 30.0
"""Longest that a caller may leave an answer unread."""
MOST_HEAD = 16 * 1024
"""Bytes of a head, however it comes."""
MOST_HEADERS = 100
"""Lines of a head."""
MOST_PIECES = 2048
"""Pieces of a body: each takes time, a chunk of one byte as much as one of 64 KiB."""
_BLANK_LINE = re.compile(rb"\n\r?\n")
LOG_S = 60.0
"""How often the log tells of connections that were closed."""
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
Phase = Literal["head", "body", "answer", "idle"]
"""What is waited for; idle is between two requests, for which uvicorn has a deadline."""


@dataclass
class ConnectionLimits:
    """The connections of one endpoint.

    Attributes:
        most: How many there may be.
        most_of_one: How many of one address.
        head_s: Longest that a head may take.
        body_s: Longest that a body may take.
        read_s: Longest that an answer may be left unread.
    """

    most: int = MOST
    most_of_one: int = MOST_OF_ONE
    head_s: float = HEAD_S
    body_s: float = BODY_S
    read_s: float = READ_S
    _count: Counter[str] = field(default_factory=Counter)
    """By address."""
    _unfinished: dict[str, dict[Connection, None]] = field(default_factory=dict)
    """By address, in the order in which they began to wait: those without a whole request."""
    _told: dict[str, tuple[float, int]] = field(default_factory=dict)

    def enter(self, address: str) -> bool:
        """Take a connection in; another may have to go for it."""
        if self._count[address] >= self.most_of_one:
            fits = self._push_out(self._unfinished.get(address, {}))
        else:
            fits = self._count.total() < self.most or self._push_out(self._crowd())
        if not fits:
            self.tell("refused")
            return False
        self._count[address] += 1
        return True

    def leave(self, one: Connection, address: str) -> None:
        """Let a connection go."""
        self.finished(one, address)
        self._count[address] -= 1
        if not self._count[address]:
            del self._count[address]

    def waits(self, one: Connection, address: str) -> None:
        """Note that a connection has no whole request."""
        self._unfinished.setdefault(address, {})[one] = None

    def finished(self, one: Connection, address: str) -> None:
        """Note that it has one, or is gone."""
        mine = self._unfinished.get(address, {})
        mine.pop(one, None)
        if not mine:
            self._unfinished.pop(address, None)

    def tell(self, what: str) -> None:
        """Count something, and tell it in the log, once in `LOG_S`."""
        last, count = self._told.get(what, (-LOG_S, 0))
        now, count = time.monotonic(), count + 1
        if now - last >= LOG_S:
            log.warning("connections", why=what, count=count, open=self._count.total())
            last, count = now, 0
        self._told[what] = (last, count)

    def _crowd(self) -> dict[Connection, None]:
        """Find those of the address that has most of them waiting."""
        return max(self._unfinished.values(), key=len, default={})

    def _push_out(self, waiting: dict[Connection, None]) -> bool:
        oldest = next(iter(waiting), None)
        if oldest is None:
            return False
        self.tell("pushed out")
        oldest.give_way()
        return True


class _Bounded(h11.Connection):
    """HTTP whose heads and bodies cost a bounded time, of whatever they are made."""

    _pieces = 0

    def next_event(self) -> Any:
        """Take the next part of what was sent.

        Raises:
            RemoteProtocolError: It is no HTTP, or too much of it.
        """
        if self.their_state is h11.IDLE:
            waiting, _ = self.trailing_data
            end = _BLANK_LINE.search(waiting, 0, MOST_HEAD)
            if end is None and len(waiting) > MOST_HEAD:
                raise h11.RemoteProtocolError("the head is too long", 431)
            if waiting.count(b"\n", 0, end.start() if end else MOST_HEAD) > MOST_HEADERS:
                raise h11.RemoteProtocolError("the head has too many lines", 431)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = 0
        elif isinstance(event, h11.Data):
            self._pieces += 1
            if self._pieces > MOST_PIECES:
                raise h11.RemoteProtocolError("the body has too many pieces")
        return event


class Connection(H11Protocol):
    """One connection, with deadlines."""

    room: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Bounded(h11.SERVER, MOST_HEAD)
        self._address = ""
        self._begun = self._counted = False
        self._phase: tuple[Phase, object] = ("idle", None)
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        peer = transport.get_extra_info("peername")
        self._address = network(str(peer[0])) if isinstance(peer, tuple) else ""
        if not self.room.enter(self._address):
            transport.write(BUSY)
            transport.close()
            return
        self._begun = self._counted = True
        super().connection_made(transport)
        self._wait_for("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._begun:
            self._leave()
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what was sent."""
        if not self._counted:  # it is on its way out
            return
        super().data_received(data)
        self._look("head")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; where something was answered already, only close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        self._look("idle")

    def pause_writing(self) -> None:
        """Wait for whoever does not read, and not for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.room.read_s, self._close, "unread", True)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        _cancel(self._unread)

    def give_way(self) -> None:
        """Make room for another at once."""
        self._leave()
        self.transport.abort()

    def _look(self, empty: Phase) -> None:
        """See what is waited for now; `empty` where no head is there."""
        if not self._counted or self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            self._wait_for(empty)
        else:
            self._wait_for("body" if self.conn.their_state is h11.SEND_BODY else "answer")

    def _wait_for(self, phase: Phase) -> None:
        if self._phase == (phase, self.cycle):
            return
        self._phase = (phase, self.cycle)
        _cancel(self._deadline)
        if phase == "answer":
            self.room.finished(self, self._address)
            return
        self.room.waits(self, self._address)
        if phase != "idle":
            seconds = self.room.head_s if phase == "head" else self.room.body_s
            self._deadline = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """Close what takes too long, with a word where nothing was answered yet."""
        phase, _ = self._phase
        if phase == "head" or not self.cycle.response_started:
            self.transport.write(LATE)
        self._close(f"late {phase}")

    def _close(self, why: str, hard: bool = False) -> None:
        self.room.tell(why)
        if hard or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _leave(self) -> None:
        """Count no more, and have no deadline."""
        _cancel(self._deadline)
        _cancel(self._unread)
        if self._counted:
            self._counted = False
            self.room.leave(self, self._address)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
