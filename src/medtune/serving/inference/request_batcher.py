"""Questions that arrive together are scored together.

One thread works; what arrives meanwhile waits and is the next batch.  A question that would have to
wait longer than its asker does is turned away at the door: a full queue that takes everything makes
everybody late.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
P = ParamSpec("P")

MOST = 32
"""Questions in one batch."""
ROOM = 1024
"""Questions that wait, whatever the pace says."""
LINGER_S = 0.08
"""After a batch its askers come back with their next question, one after the other: the next batch
waits until none came for so long, or until the last batch's time times `LINGER_SHARE` is over.
Shorter, and of 32 clients one and 31 took turns for ever."""
LINGER_SHARE = 0.1
_WEIGHT = 0.2
"""Of the last batch in the pace."""


def model_thread() -> ThreadPoolExecutor:
    """Make the one thread in which models are opened and asked.

    Each thread that runs a parallel product brings OpenMP's helpers with it.  Where there are more
    of them than cores, they sleep instead of wait for the next product: two such threads, of which
    one only opened the model, cost a quarter of the speed.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="model")


class DaemonExecutor(Executor):
    """Does each call in a thread of its own, which nobody waits for when the process ends."""

    def submit(self, fn: Callable[P, Out], /, *args: P.args, **kwargs: P.kwargs) -> Future[Out]:
        """Begin a call."""
        done: Future[Out] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is the caller's to handle
                done.set_exception(error)

        threading.Thread(target=run, name="aside", daemon=True).start()
        return done


class BusyError(Exception):
    """More questions wait than can be answered in time.

    Args:
        retry_after_s: When to come again.
    """

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"busy for another {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Waiting(Generic[In, Out]):
    item: In
    deadline: float
    """Seconds on the monotonic clock."""
    done: asyncio.Future[Out]


class Batcher(Generic[In, Out]):
    """Collects items into batches for one worker thread.

    Args:
        work: Maps a batch to its results, one each; runs in a thread of its own.
        patience_s: Longest that an item may wait to be started.
        most: Items in one batch.
        room: Items that may wait.
        watch: Told the size and the seconds of every batch.
        thread: Where the work is done; None is one of its own.
        lingers: Whether a batch waits a little for those who come back.
    """

    def __init__(
        self,
        work: Callable[[Sequence[In]], Sequence[Out]],
        patience_s: float,
        most: int = MOST,
        room: int = ROOM,
        watch: Callable[[int, float], object] = lambda _size, _seconds: None,
        thread: Executor | None = None,
        lingers: bool = True,
    ) -> None:
        self._work, self._watch = work, watch
        self._patience_s, self._most, self._room = patience_s, most, room
        self._queue: deque[_Waiting[In, Out]] = deque()
        self._running = 0
        self._lingering = False
        self._pace_s: float | None = None
        self._arrived = asyncio.Event()
        self._thread, self._lingers = thread or model_thread(), lingers
        self._loop = asyncio.create_task(self._go_on())
        self._closing = False

    @property
    def waiting(self) -> int:
        """Items that were not started yet."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether something waits, is under way, or may come back; any thread may ask."""
        return bool(self._queue) or self._running > 0 or self._lingering

    @property
    def pace_s(self) -> float | None:
        """Seconds an item, of late; None before the first batch."""
        return self._pace_s

    async def ask(self, item: In) -> Out:
        """Have one item worked on.

        Raises:
            BusyError: It would not be started in time, or everything is closing.
            Exception: What the work raised.
        """
        return (await self.ask_all([item]))[0]

    async def ask_all(self, items: Sequence[In]) -> list[Out]:
        """Have some items worked on, all or none of them.

        Raises:
            BusyError: They would not be started in time, or everything is closing.
            Exception: What the work raised for one of them.
        """
        self._admit(len(items))
        loop, deadline = asyncio.get_running_loop(), time.monotonic() + self._patience_s
        waiting = [_Waiting[In, Out](item, deadline, loop.create_future()) for item in items]
        self._queue.extend(waiting)
        self._arrived.set()
        try:
            return [await one.done for one in waiting]
        finally:
            for one in waiting:  # an asker that went away is not worked for
                one.done.cancel()
                if one.done.done() and not one.done.cancelled():
                    one.done.exception()

    def _admit(self, count: int) -> None:
        ahead = len(self._queue) + self._running
        delay = ahead * (self._pace_s or 0.0)
        if self._closing or len(self._queue) + count > self._room or delay > self._patience_s:
            raise BusyError(max(1.0, delay - self._patience_s / 2))

    async def _go_on(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._next()
            if not batch:
                self._arrived.clear()
                continue
            start = time.perf_counter()
            await self._finish(batch)
            ended = time.perf_counter()
            if self._lingers:
                await self._linger(ended + LINGER_SHARE * (ended - start))

    async def _linger(self, until: float) -> None:
        """Wait for those who come back, so that two crowds do not take turns for ever."""
        seen, self._lingering = -1, True
        while seen != len(self._queue) < self._most and time.perf_counter() < until:
            seen = len(self._queue)
            await asyncio.sleep(LINGER_S)
        self._lingering = False

    def _next(self) -> list[_Waiting[In, Out]]:
        batch: list[_Waiting[In, Out]] = []
        now = time.monotonic()
        while self._queue and len(batch) < self._most:
            one = self._queue.popleft()
            if one.done.done():
                continue
            if one.deadline < now:
                one.done.set_exception(BusyError(max(1.0, self._patience_s / 2)))
            else:
                batch.append(one)
        return batch

    async def _finish(self, batch: list[_Waiting[In, Out]]) -> None:
        start, self._running = time.perf_counter(), len(batch)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._thread, self._work, [one.item for one in batch]
            )
        except Exception as error:  # noqa: BLE001 - it is the askers' to handle
            for one in batch:
                if not one.done.done():
                    one.done.set_exception(error)
        else:
            seconds = time.perf_counter() - start
            self._watch(len(batch), seconds)
            pace = seconds / len(batch)
            known = self._pace_s
            self._pace_s = pace if known is None else known + _WEIGHT * (pace - known)
            for one, result in zip(batch, found, strict=True):
                if not one.done.done():
                    one.done.set_result(result)
        finally:
            self._running = 0
            _turn_away(batch)  # those whom a hurried close left without a result

    async def close(self, within_s: float = math.inf) -> None:
        """Take nothing more, finish what waits, and let the thread go.

        Args:
            within_s: After so many seconds, what is not finished is turned away instead.
        """
        self._closing, until = True, time.monotonic() + within_s
        while (self._queue or self._running) and time.monotonic() < until:
            await asyncio.sleep(0.01)
        self._loop.cancel()
        _turn_away(self._queue)
        self._thread.shutdown(wait=False)


def _turn_away(waiting: Iterable[_Waiting[In, Out]]) -> None:
    for one in waiting:
        if not one.done.done():
            one.done.set_exception(BusyError(1.0))
