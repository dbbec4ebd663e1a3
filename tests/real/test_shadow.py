"""A shadow beside an endpoint that is a process of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from tests.conftest import CommandLine
from tests.pipeline.serving.endpoint import HELD, QUESTION
from tests.real.test_serve import Running, running

from medtune.releases.registry import Registry
from medtune.serving.storage.store import Store


def counted(server: Running) -> dict[str, int]:
    text = httpx2.get(f"{server.url}/metrics").text
    found = re.findall(r'^medtune_shadow_total\{outcome="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {name: int(n) for name, n in found}


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.perf_counter() + seconds
    while not holds():
        assert time.perf_counter() < end, "it does not come true"
        time.sleep(0.05)


def opened(server: Running, name: str) -> None:
    until(lambda: f"shadow: {name}" in (server.folder / "log").read_text())


def test_a_shadow_is_counted_and_kept_and_never_shown(tmp_path: Path) -> None:
    with running(tmp_path, "--shadow", "fake:constant") as server:
        opened(server, "fake:constant")
        replies = [server.ask() for _ in range(19)] + [server.ask(HELD)]
        assert {reply.status_code for reply in replies} == {200}
        assert not any("fake:constant" in reply.text for reply in replies)
        until(lambda: sum(counted(server).values()) == len(replies))
        assert set(counted(server)) <= {"same", "other"}
        told = counted(server)
        begin = time.perf_counter()
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert time.perf_counter() - begin < 5
    store = Store.open(f"sqlite:///{tmp_path / 'medtune.db'}")
    now = datetime.now(UTC)
    rows = list(store.requests.iter_shadowed(now - timedelta(days=1), now))
    store.close()
    assert {entry.request_id for entry, _ in rows} == {r.json()["request_id"] for r in replies}
    assert sum(entry.chosen == one.chosen for entry, one in rows) == told.get("same", 0)


@pytest.mark.parametrize("name", ["fake:unheard", "release:unheard", "remote:http://127.0.0.1:1"])
def test_a_shadow_that_cannot_be_opened_is_counted_and_told(tmp_path: Path, name: str) -> None:
    with running(tmp_path, "--shadow", name) as server:
        until(lambda: counted(server) == {"failed": 1})
        assert server.ask(QUESTION).status_code == 200
        time.sleep(1)
        assert counted(server) == {"failed": 1}
        assert '"place": "shadow"' in (tmp_path / "log").read_text()


def test_the_challenger_is_followed(medtune: CommandLine, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    where = ("--registry", str(tmp_path / "registry"))
    for name in ("v1", "v2"):
        assert medtune("release", "build", name, "fake:noisy", *where)[0] == 0
    registry.set_alias("champion", registry.find("v1"), "somebody", "release.promote")
    beside = ("--shadow", "release:challenger", *where)
    with running(tmp_path / "s", *beside, model="release:champion") as server:
        server.ask()
        assert medtune("release", "promote", "v2", "--challenger", *where)[0] == 0
        opened(server, "v2")
        assert counted(server) == {}
        assert server.ask().json()["release"] == "v1"
        until(lambda: sum(counted(server).values()) == 1)
        registry.set_alias("champion", registry.find("v2"), "somebody", "release.promote")
        until(lambda: server.ask().json()["release"] == "v2")
        time.sleep(1)
        before = counted(server)
        for _ in range(5):
            server.ask()
        time.sleep(1)
        assert counted(server) == before
