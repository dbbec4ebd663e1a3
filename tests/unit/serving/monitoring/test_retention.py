from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.serving.store_cases import START, Clock, entry

from medtune.serving.monitoring.retention import Retention
from medtune.serving.storage.store import Store

DAY, HOUR = 86_400.0, 3600.0


class Clocks:
    """The clock on the wall, which can be set, and the one that only passes."""

    def __init__(self) -> None:
        self.wall, self.passed = Clock(), 0.0

    def forward(self, seconds: float) -> None:
        self.wall.forward(seconds)
        self.passed += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def store(tmp_path: Path, clocks: Clocks) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}", now=clocks.wall)
    store.requests.add(entry("a"), None)
    yield store
    store.close()


def retention(store: Store, clocks: Clocks) -> Retention:
    return Retention(store, clocks.wall, lambda: clocks.passed)


def test_what_is_too_old_is_deleted_in_its_time(store: Store, clocks: Clocks) -> None:
    kept = retention(store, clocks)
    found = []
    for _ in range(32):
        found.append(kept.sweep(30))
        clocks.forward(DAY)
    assert sum(found) == 1  # type: ignore[arg-type]
    assert found[31] == 1


def test_a_clock_that_jumps_ahead_deletes_nothing(store: Store, clocks: Clocks) -> None:
    kept = retention(store, clocks)
    assert kept.sweep(30) == 0
    clocks.forward(HOUR)
    clocks.wall.forward(3650 * DAY)
    for _ in range(20):
        assert kept.sweep(30) is None
        clocks.forward(HOUR)
    clocks.wall.forward(-3650 * DAY)  # somebody set it right
    assert kept.sweep(30) == 0
    assert store.requests.find("a") is not None


def test_a_jump_over_a_restart_deletes_nothing(store: Store, clocks: Clocks) -> None:
    assert retention(store, clocks).sweep(30) == 0
    clocks.wall.forward(3650 * DAY)
    for _ in range(2):  # and nothing after a further restart
        again = retention(store, clocks)
        assert again.sweep(30) is None
        clocks.forward(HOUR)
        assert again.sweep(30) is None
    assert store.requests.find("a") is not None
    assert store.read_trusted_time() == START


def test_an_endpoint_that_stood_still_goes_on_deleting_after_a_day(
    store: Store, clocks: Clocks
) -> None:
    assert retention(store, clocks).sweep(30) == 0
    clocks.wall.forward(40 * DAY)
    again = retention(store, clocks)
    found = []
    for _ in range(25):
        found.append(again.sweep(30))
        clocks.forward(HOUR)
    assert found[:24] == [None] * 24
    assert found[24] == 1


def test_a_short_rest_is_no_jump(store: Store, clocks: Clocks) -> None:
    assert retention(store, clocks).sweep(30) == 0
    clocks.forward(6 * DAY)
    assert retention(store, clocks).sweep(5) == 1


def test_a_clock_that_goes_back_deletes_nothing(store: Store, clocks: Clocks) -> None:
    kept = retention(store, clocks)
    kept.sweep(30)
    clocks.wall.forward(-timedelta(days=900).total_seconds())
    assert kept.sweep(30) == 0
