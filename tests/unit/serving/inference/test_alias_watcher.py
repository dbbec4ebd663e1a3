from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from medtune.core.errors import ReleaseError
from medtune.serving.inference import alias_watcher as following
from medtune.serving.inference.alias_watcher import watch_alias


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_INTERVAL_S", 0.005)


HERE: str | None = "a"


class Registry:
    """What an alias stands for, and what was done about it."""

    def __init__(self, now: str | None) -> None:
        self.now, self.looks = now, 0
        self.put: list[str | None] = []
        self.refuses: Exception | None = None
        self.gone: Exception | None = None
        self.failures = 0

    def wanted(self) -> str | None:
        self.looks += 1
        if self.gone is not None:
            raise self.gone
        return self.now

    def place(self, now: str | None) -> None:
        self.put.append(now)
        if self.refuses is not None:
            raise self.refuses

    def failed(self) -> None:
        self.failures += 1

    def look_again(self) -> None:
        seen = self.looks
        until(lambda: self.looks > seen + 2)


def until(holds: Callable[[], bool]) -> None:
    end = time.perf_counter() + 5
    while not holds():
        assert time.perf_counter() < end
        time.sleep(0.002)


def test_what_is_wanted_is_put_and_what_is_there_is_left() -> None:
    registry = Registry(HERE)
    with watch_alias("champion", HERE, registry.wanted, registry.place):
        registry.look_again()
        assert registry.put == []
        for now in ("b", None, "b"):
            registry.now = now
            registry.look_again()
    assert registry.put == ["b", None, "b"]
    seen = registry.looks
    time.sleep(0.05)
    assert registry.looks == seen


@pytest.mark.parametrize("error", [ReleaseError("b is damaged"), MemoryError()])
def test_what_cannot_be_put_is_told_and_not_tried_again(error: Exception) -> None:
    registry = Registry("b")
    registry.refuses = error
    with (
        capture_logs() as said,
        watch_alias("shadow", HERE, registry.wanted, registry.place, registry.failed),
    ):
        registry.look_again()
        assert (registry.put, registry.failures) == (["b"], 1)
        registry.refuses, registry.now = None, "c"
        registry.look_again()
    assert (registry.put, registry.failures) == (["b", "c"], 1)
    (line,) = said
    assert line["place"] == "shadow"
    assert line["fault"] in ("b is damaged", "MemoryError")


def test_what_cannot_be_looked_up_is_told_once_and_looked_for_again() -> None:
    registry = Registry("b")
    registry.gone = ReleaseError("no release is called b")
    with (
        capture_logs() as said,
        watch_alias("shadow", None, registry.wanted, registry.place, registry.failed),
    ):
        registry.look_again()
        assert (registry.put, registry.failures, len(said)) == ([], 1, 1)
        registry.gone = None
        registry.look_again()
        assert registry.put == ["b"]
        registry.gone = ReleaseError("no release is called b")
        registry.look_again()
    assert (registry.failures, len(said)) == (2, 2)
