from __future__ import annotations

import asyncio
import resource
import time
from typing import Any, cast

import pytest
import uvicorn

from medtune.serving import connections
from medtune.serving import server as listen
from medtune.serving.connections import Connection, ConnectionLimits
from medtune.serving.middleware import log


class Caller:
    """Stands in for a connection: it only gives way."""

    def __init__(self, room: ConnectionLimits, address: str, whole: bool = False) -> None:
        self.room, self.address, self.gone = room, address, False
        self.inside = room.acquire_slot(address)
        if self.inside and not whole:
            room.mark_incomplete(cast(Connection, self), address)

    def evict(self) -> None:
        self.gone = True
        self.room.release_slot(cast(Connection, self), self.address)


def test_whoever_comes_to_a_full_room_takes_the_place_of_the_oldest_that_waits() -> None:
    room = ConnectionLimits(max_connections=4, max_per_address=3)
    one = Caller(room, "a", whole=True)
    two, three = Caller(room, "a"), Caller(room, "a")
    four = Caller(room, "a")  # the address has no more room
    assert (one.gone, two.gone, three.gone) == (False, True, False)
    other = Caller(room, "b")
    last = Caller(room, "c")  # nor has anybody
    assert [c.gone for c in (one, three, four, other, last)] == [False, True, False, False, False]


def test_where_all_are_answered_nobody_else_is_let_in() -> None:
    room = ConnectionLimits(max_connections=2, max_per_address=2)
    whole = [Caller(room, address, whole=True) for address in "ab"]
    assert not Caller(room, "c").inside
    room.release_slot(cast(Connection, whole[0]), "a")
    assert Caller(room, "c").inside


def test_what_is_closed_is_told_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "warning", lambda _, **values: told.append(values))
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    room = ConnectionLimits()
    for _ in range(500):
        room.count_event("late head")
    now[0] = connections.LOG_INTERVAL_S
    room.count_event("late head")
    assert [one["count"] for one in told] == [1, 500]


def test_a_lack_of_files_is_told_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    server = listen._Server(uvicorn.Config(lambda: None, log_config=None), ConnectionLimits())
    loop = asyncio.new_event_loop()
    for _ in range(100):
        fault = OSError(24, "Too many open files")
        context = {"message": "socket.accept() out of system resource", "exception": fault}
        server._handle_loop_error(loop, context)
    assert caplog.text == ""
    server._handle_loop_error(loop, {"message": "something else", "exception": ValueError("x")})
    assert "something else" in caplog.text
    loop.close()


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "most"),
    [
        (1024, 4096, (1152, 4096), 1024),
        (256, 512, (512, 512), 384),
        (100, 100, (100, 100), 1),
        (1024, resource.RLIM_INFINITY, (1152, resource.RLIM_INFINITY), 1024),
        (8192, 8192, None, 1024),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1024),
    ],
)
def test_there_is_room_for_as_many_connections_as_files(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    asked: tuple[int, int] | None,
    most: int,
) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: said.append(limits))
    room = listen._raise_file_limit(ConnectionLimits())
    assert room.max_connections == most
    assert room.max_per_address <= most
    assert said == ([] if asked is None else [asked])
