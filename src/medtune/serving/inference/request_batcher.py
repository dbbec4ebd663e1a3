"""Batch concurrent requests for one worker thread.

Requests that arrive while a batch runs form the next one. A request that would wait longer than its
caller does is rejected at once: a queue that accepts everything makes every caller late.
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

MAX_BATCH_SIZE = 32
"""Questions in one batch."""
MAX_QUEUE_LENGTH = 1024
"""Most questions that may wait, whatever the throughput."""
LINGER_S = 0.08
"""After a batch, closed-loop clients send their next questions one after the other. The next batch
waits until none arrived for this long, or until `LINGER_SHARE` of the last batch's time has passed.
With a shorter time, 32 clients split into alternating groups of 1 and 31."""
LINGER_SHARE = 0.1
_PACE_WEIGHT = 0.2
"""Weight of the last batch in the moving average of seconds per item."""


def create_model_executor() -> ThreadPoolExecutor:
    """Create the single thread in which models are loaded and called.

    Each thread that runs a parallel product brings its own OpenMP workers. With more workers than
    cores they sleep between products: a second thread that only loaded the model cost a quarter of
    the speed.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="model")


class DaemonExecutor(Executor):
    """An executor with one daemon thread per call; a process exit does not wait for it."""

    def submit(self, fn: Callable[P, Out], /, *args: P.args, **kwargs: P.kwargs) -> Future[Out]:
        """Start a call."""
        done: Future[Out] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised to the caller
                done.set_exception(error)

        threading.Thread(target=run, name="aside", daemon=True).start()
        return done


class BusyError(Exception):
    """More questions wait than can be answered in time.

    Args:
        retry_after_s: Seconds after which to try again.
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
        work: Maps a batch to one result per item; runs in the worker thread.
        patience_s: Longest that an item may wait to be started.
        max_batch_size: Most items in one batch.
        max_queue_length: Most items that may wait.
        watch: Called with the size and the seconds of every batch.
        thread: The worker thread; None creates one.
        lingers: Whether a batch waits briefly for closed-loop clients (see `LINGER_S`).
    """

    def __init__(
        self,
        work: Callable[[Sequence[In]], Sequence[Out]],
        patience_s: float,
        max_batch_size: int = MAX_BATCH_SIZE,
        max_queue_length: int = MAX_QUEUE_LENGTH,
        watch: Callable[[int, float], object] = lambda _size, _seconds: None,
        thread: Executor | None = None,
        lingers: bool = True,
    ) -> None:
        self._work, self._watch = work, watch
        self._patience_s = patience_s
        self._max_batch_size, self._max_queue_length = max_batch_size, max_queue_length
        self._queue: deque[_Waiting[In, Out]] = deque()
        self._running = 0
        self._lingering = False
        self.seconds_per_item: float | None = None
        """Moving average; None before the first batch."""
        self._arrived = asyncio.Event()
        self._thread, self._lingers = thread or create_model_executor(), lingers
        self._loop = asyncio.create_task(self._run_loop())
        self._closing = False

    @property
    def queue_length(self) -> int:
        """Number of items that were not started yet."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether items are queued, running or expected; safe to call from any thread."""
        return bool(self._queue) or self._running > 0 or self._lingering

    async def process(self, item: In) -> Out:
        """Process one item.

        Raises:
            BusyError: It would not be started in time, or the batcher is closing.
            Exception: What the work raised.
        """
        return (await self.process_all([item]))[0]

    async def process_all(self, items: Sequence[In]) -> list[Out]:
        """Process all of the items or none.

        Raises:
            BusyError: They would not be started in time, or the batcher is closing.
            Exception: What the work raised for one of them.
        """
        self._check_capacity(len(items))
        loop, deadline = asyncio.get_running_loop(), time.monotonic() + self._patience_s
        waiting = [_Waiting[In, Out](item, deadline, loop.create_future()) for item in items]
        self._queue.extend(waiting)
        self._arrived.set()
        try:
            return [await one.done for one in waiting]
        finally:
            for one in waiting:  # a cancelled caller's items are not processed
                one.done.cancel()
                if one.done.done() and not one.done.cancelled():
                    one.done.exception()

    def _check_capacity(self, count: int) -> None:
        ahead = len(self._queue) + self._running
        delay = ahead * (self.seconds_per_item or 0.0)
        if (
            self._closing
            or len(self._queue) + count > self._max_queue_length
            or delay > self._patience_s
        ):
            raise BusyError(max(1.0, delay - self._patience_s / 2))

    async def _run_loop(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._next_batch()
            if not batch:
                self._arrived.clear()
                continue
            start = time.perf_counter()
            await self._run_batch(batch)
            ended = time.perf_counter()
            if self._lingers:
                await self._linger(ended + LINGER_SHARE * (ended - start))

    async def _linger(self, until: float) -> None:
        """Wait briefly for closed-loop clients; otherwise they split into alternating groups."""
        seen, self._lingering = -1, True
        while seen != len(self._queue) < self._max_batch_size and time.perf_counter() < until:
            seen = len(self._queue)
            await asyncio.sleep(LINGER_S)
        self._lingering = False

    def _next_batch(self) -> list[_Waiting[In, Out]]:
        batch: list[_Waiting[In, Out]] = []
        now = time.monotonic()
        while self._queue and len(batch) < self._max_batch_size:
            one = self._queue.popleft()
            if one.done.done():
                continue
            if one.deadline < now:
                one.done.set_exception(BusyError(max(1.0, self._patience_s / 2)))
            else:
                batch.append(one)
        return batch

    async def _run_batch(self, batch: list[_Waiting[In, Out]]) -> None:
        start, self._running = time.perf_counter(), len(batch)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._thread, self._work, [one.item for one in batch]
            )
        except Exception as error:  # noqa: BLE001 - raised to the callers
            for one in batch:
                if not one.done.done():
                    one.done.set_exception(error)
        else:
            seconds = time.perf_counter() - start
            self._watch(len(batch), seconds)
            pace = seconds / len(batch)
            known = self.seconds_per_item
            self.seconds_per_item = pace if known is None else known + _PACE_WEIGHT * (pace - known)
            for one, result in zip(batch, found, strict=True):
                if not one.done.done():
                    one.done.set_result(result)
        finally:
            self._running = 0
            _reject(batch)  # items without a result after a forced close

    async def close(self, within_s: float = math.inf) -> None:
        """Accept no more items, finish the waiting ones or reject them in time, and stop."""
        self._closing, until = True, time.monotonic() + within_s
        while (self._queue or self._running) and time.monotonic() < until:
            await asyncio.sleep(0.01)
        self._loop.cancel()
        _reject(self._queue)
        self._thread.shutdown(wait=False)


def _reject(waiting: Iterable[_Waiting[In, Out]]) -> None:
    for one in waiting:
        if not one.done.done():
            one.done.set_exception(BusyError(1.0))
