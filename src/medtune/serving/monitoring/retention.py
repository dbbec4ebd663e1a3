"""Deletes what is too old, unless the clock cannot be trusted.

A clock that jumps ahead would make everything too old at once.  So the time is compared with the
time that has passed: within a process by a clock that nobody sets, over a restart with the last
time that was trusted.  Where the clock is far ahead nothing is deleted until it has run steadily
for a day, or was set back; meanwhile a line in the log says so every hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from medtune.serving.middleware import log
from medtune.serving.storage.store import Store

DRIFT = timedelta(hours=1)
"""How far a clock may go wrong between two looks."""
AWAY = timedelta(days=7)
"""How long an endpoint may stand still before its clock is doubted."""
STEADY = timedelta(days=1)
"""For how long a doubted clock has to run steadily."""


def _passed_s() -> float:
    """Tell seconds by a clock that nobody sets, and that runs while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass
class Retention:
    """Keeps the promise of `privacy.days`.

    Attributes:
        store: Where requests are.
        now: Tells the time.
        passed_s: Seconds by a clock that nobody sets.
    """

    store: Store
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    passed_s: Callable[[], float] = _passed_s
    _last: tuple[datetime, float] | None = None
    """When it looked last, by both clocks."""
    _doubted: tuple[datetime, float] | None = None
    """Since when the clock is doubted, by both; None is not at all."""
    _honest: datetime | None = None
    """What the clock showed when it was last trusted, carried on by the other."""

    def sweep(self, days: int) -> int | None:
        """Delete the requests of more than some days ago.

        Returns:
            How many; None where the clock is not trusted.

        Raises:
            StoreError: The store cannot be read or written.
        """
        now, passed = self.now(), self.passed_s()
        if not self._trusts(now, passed):
            log.warning("retention is paused", why="the clock is far ahead", clock=now.isoformat())
            return None
        self.store.trust(now)
        return self.store.purge(now - timedelta(days=days))

    def _trusts(self, now: datetime, passed: float) -> bool:
        if self._last is None:
            self._honest = self.store.trusted()
            expected = self._honest and self._honest + AWAY
        else:
            elapsed = timedelta(seconds=passed - self._last[1])
            self._honest = self._honest and self._honest + elapsed
            expected = self._last[0] + elapsed + DRIFT
        jumped = expected is not None and now > expected
        self._last = (now, passed)
        if jumped:
            self._doubted = (now, passed)
        elif self._doubted is not None:
            back = self._honest is not None and now <= self._honest + AWAY
            if back or timedelta(seconds=passed - self._doubted[1]) >= STEADY:
                self._doubted = None
        if self._doubted is None:
            self._honest = now
        return self._doubted is None
