"""Delete old requests, unless the clock cannot be trusted.

A clock that jumps ahead would make all requests too old at once. So the clock is compared with
elapsed time: within a process by the boot clock, across a restart with the last trusted time. If
the clock is far ahead, nothing is deleted until it has run steadily for a day or was set back;
meanwhile the log says so every hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from medtune.serving.middleware import log
from medtune.serving.storage.store import Store

MAX_CLOCK_DRIFT = timedelta(hours=1)
"""Largest clock error between two checks."""
MAX_DOWNTIME = timedelta(days=7)
"""Longest downtime after which the clock is still trusted."""
TRUST_AFTER = timedelta(days=1)
"""How long a distrusted clock has to run steadily."""


def _boot_time_s() -> float:
    """Return seconds since boot, including sleep, by a clock that cannot be set."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass
class Retention:
    """Deletes requests older than `privacy.days`.

    Attributes:
        store: The store with the requests.
        now: Returns the current time.
        passed_s: Returns seconds by a clock that cannot be set.
    """

    store: Store
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    passed_s: Callable[[], float] = _boot_time_s
    _last: tuple[datetime, float] | None = None
    """Last check, by both clocks."""
    _doubted: tuple[datetime, float] | None = None
    """Start of the distrust, by both clocks; None while the clock is trusted."""
    _honest: datetime | None = None
    """Last trusted time, advanced by the boot clock."""

    def sweep(self, days: int) -> int | None:
        """Delete requests older than some days.

        Returns:
            Number of deleted requests; None if the clock is not trusted.

        Raises:
            StoreError: The store cannot be read or written.
        """
        now, passed = self.now(), self.passed_s()
        if not self._is_clock_trusted(now, passed):
            log.warning("retention is paused", why="the clock is far ahead", clock=now.isoformat())
            return None
        self.store.set_trusted_time(now)
        return self.store.requests.delete_before(now - timedelta(days=days))

    def _is_clock_trusted(self, now: datetime, passed: float) -> bool:
        if self._last is None:
            self._honest = self.store.read_trusted_time()
            expected = self._honest and self._honest + MAX_DOWNTIME
        else:
            elapsed = timedelta(seconds=passed - self._last[1])
            self._honest = self._honest and self._honest + elapsed
            expected = self._last[0] + elapsed + MAX_CLOCK_DRIFT
        jumped = expected is not None and now > expected
        self._last = (now, passed)
        if jumped:
            self._doubted = (now, passed)
        elif self._doubted is not None:
            back = self._honest is not None and now <= self._honest + MAX_DOWNTIME
            if back or timedelta(seconds=passed - self._doubted[1]) >= TRUST_AFTER:
                self._doubted = None
        if self._doubted is None:
            self._honest = now
        return self._doubted is None
