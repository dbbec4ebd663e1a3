"""The endpoint under requests that are made to hold it up: real sockets, a fake model."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from worst_request import LARGEST, WORST, largest

CHILD = Path(__file__).with_name("endpoint_child.py")
HEAD = b"POST /v1/answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    waits: list[float] = field(default_factory=list)
    """Processor seconds of the endpoint while each probe waited: a busy machine adds none."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, path: str, body: Any) -> httpx2.Response:
        return httpx2.post(f"{self.url}{path}", json=body, timeout=60)

    def connect(self, said: bytes = b"") -> socket.socket:
        place = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        place.sendall(said)
        return place

    @contextmanager
    def probed(self) -> Iterator[None]:
        """Ask for the health all the while, and note what each answer had to wait for."""
        ended, child = threading.Event(), psutil.Process(self.process.pid)

        def spent() -> float:
            times = child.cpu_times()
            return float(times.user + times.system)

        def probe() -> None:
            with httpx2.Client(timeout=10) as client:
                while not (self.waits and ended.wait(0.01)):
                    before = spent()
                    assert client.get(f"{self.url}/healthz").status_code == 200
                    self.waits.append(spent() - before)

        thread = threading.Thread(target=probe)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Running]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    with log.open("wb") as said:
        command = [sys.executable, str(CHILD), str(folder), str(port), json.dumps(settings)]
        process = subprocess.Popen(command, stdout=said, stderr=said)
    server = Running(process, port, log)
    try:
        for _ in range(600):
            try:
                if httpx2.get(f"{server.url}/healthz").status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.05)
            assert process.poll() is None, log.read_text()
        yield server
    finally:
        process.kill()
        process.wait()


def test_the_worst_requests_leave_the_health_check_alone(tmp_path: Path) -> None:
    with running(tmp_path, size=LARGEST, guards_s=2.0) as server:
        for name, (path, body) in WORST.items():
            server.waits.clear()
            start = time.perf_counter()
            with server.probed():
                reply = server.send(path, body)
            took = time.perf_counter() - start
            assert reply.status_code in (200, 400, 422), name
            assert len(reply.content) < 64_000, name
            assert took < 10, f"{name}: {took:.1f} s"
            assert max(server.waits) < 0.5, f"{name}: {max(server.waits):.2f} s"


def test_what_the_guards_had_no_time_for_is_refused(tmp_path: Path) -> None:
    questions = [largest("Adam Smith, ")] * 8
    with running(tmp_path, size=LARGEST, guards_s=0.5) as server:
        replies = server.send("/v1/answer/batch", {"questions": questions}).json()["replies"]
        late = [one for one in replies if one["reasons"][-1]["reason"] == "size.time"]
        assert late
        assert {one["status"] for one in late} == {"refused"}
        assert {one["card"]["name"] for one in late} <= {"crisis", "scope"}
        assert late[-1]["card"]["name"] == "crisis"
        assert (
            server.send("/v1/answer", {"stem": "Which?", "options": ["a", "b"]}).status_code == 200
        )


def test_a_stop_is_not_held_up_by_the_worst_request(tmp_path: Path) -> None:
    with running(tmp_path, size=LARGEST, guards_s=2.0) as server:
        said: list[int] = []
        asked = threading.Thread(
            target=lambda: said.append(
                server.send("/v1/answer/batch", {"questions": [largest("A'")] * 8}).status_code
            )
        )
        asked.start()
        time.sleep(0.7)
        start = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert time.perf_counter() - start < 15
        asked.join()
    assert said == [200]


def test_half_open_connections_keep_nobody_out_and_are_closed(tmp_path: Path) -> None:
    with running(
        tmp_path, room={"max_connections": 60, "max_per_address": 50, "head_s": 2.0}
    ) as server:
        with ExitStack() as stack:
            places = [
                stack.enter_context(server.connect(HEAD if place % 2 else b""))
                for place in range(200)
            ]
            start = time.perf_counter()
            assert httpx2.get(f"{server.url}/healthz", timeout=5).status_code == 200
            assert time.perf_counter() - start < 5
            time.sleep(2.5)
            assert sum(is_closed(place) for place in places) == len(places)
        assert server.log.stat().st_size < 100_000


def test_open_files_run_out_quietly(tmp_path: Path) -> None:
    # More room than files: the system refuses, and asyncio would write a traceback each time.
    with running(
        tmp_path, files=160, room={"max_connections": 5000, "max_per_address": 5000}
    ) as server:
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(server.connect())
            assert httpx2.get(f"{server.url}/healthz", timeout=5).status_code == 200
        assert b"Traceback" not in server.log.read_bytes()


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        (b"POST /v1/answer HTT", b"P"),
        (HEAD + b"Content-Length: 100\r\n\r\n{", b" "),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he", b"a"),
    ],
)
def test_whoever_sends_slowly_is_cut_off(tmp_path: Path, said: bytes, rest: bytes) -> None:
    room = {"head_s": 1.0, "body_s": 1.0}
    with running(tmp_path, room=room) as server, server.connect(said) as place:
        start = time.perf_counter()
        for _ in range(12):
            time.sleep(0.25)
            try:
                place.sendall(rest)
            except OSError:
                break
        assert is_closed(place)
        assert time.perf_counter() - start < 10


def test_whoever_reads_nothing_is_cut_off(tmp_path: Path) -> None:
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 5000
    with running(tmp_path, room={"read_s": 1.0}) as server, server.connect() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        place.settimeout(20)
        with pytest.raises(ConnectionError):
            place.sendall(ask * 20)


def is_closed(place: socket.socket) -> bool:
    place.settimeout(3)
    try:
        while place.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(HEAD + CHUNKED + b"1\r\na\r\n" * 3000, id="chunks of one byte"),
        pytest.param(
            HEAD.replace(b"127.0.0.1", b"elsewhere") + CHUNKED + b"1\r\na\r\n" * 3000,
            id="chunks that nobody reads",
        ),
        pytest.param(HEAD + b"a:\r\n" * 200 + b"Content-Length: 0\r\n\r\n", id="many headers"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD + b"a: %s\r\n" % (b"b" * 20_000),
            id="a long head behind another request",
        ),
    ],
)
def test_what_costs_more_than_its_bytes_is_not_http(tmp_path: Path, said: bytes) -> None:
    with running(tmp_path) as server, server.connect(said) as place:
        place.settimeout(5)
        heard = b""
        while part := place.recv(65536):  # it is closed
            heard += part
        assert b"400 Bad Request" in heard or b"401 Unauthorized" in heard
        assert httpx2.get(f"{server.url}/healthz").status_code == 200


def test_what_is_broken_after_an_answer_leaves_no_traceback(tmp_path: Path) -> None:
    head = HEAD.replace(b"127.0.0.1", b"elsewhere") + CHUNKED
    with running(tmp_path) as server, server.connect(head) as place:
        assert b"401" in place.recv(65536)
        place.sendall(b"no chunk\r\n")
        assert is_closed(place)
        assert "Traceback" not in server.log.read_text()


def test_nobody_leaves_the_room_by_an_upgrade(tmp_path: Path) -> None:
    wanted = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    with running(tmp_path, room={"max_connections": 2, "max_per_address": 2}) as server:
        for _ in range(4):
            with server.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + wanted) as place:
                assert b"200 OK" in place.recv(65536)
