from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from medtune.serving.inference.request_batcher import Batcher, BusyError, DaemonExecutor


class Worker:
    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.gate.wait()
        self.batches.append(list(items))
        time.sleep(self.seconds)
        if 13 in items:
            raise ValueError("thirteen")
        return [item * 2 for item in items]


def test_what_arrives_together_is_worked_on_together() -> None:
    async def story() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, 5.0, max_batch_size=4)
        worker.gate.clear()
        asked = [asyncio.create_task(batcher.process(i)) for i in range(7)]
        await asyncio.sleep(0.05)
        worker.gate.set()
        assert await asyncio.gather(*asked) == [0, 2, 4, 6, 8, 10, 12]
        assert worker.batches == [[0, 1, 2, 3], [4, 5, 6]]
        assert batcher.seconds_per_item is not None
        await batcher.close()

    asyncio.run(story())


def test_nobody_waits_longer_than_he_can() -> None:
    async def story() -> None:
        worker = Worker(seconds=0.1)
        batcher: Batcher[int, int] = Batcher(worker, 0.25, max_batch_size=1)
        await batcher.process(0)  # now the pace is known: 0.1 s
        asked = [asyncio.create_task(batcher.process(i)) for i in range(8)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        busy = [f for f in found if isinstance(f, BusyError)]
        assert 2 <= len(found) - len(busy) <= 4
        assert all(b.retry_after_s >= 1 for b in busy)
        assert await batcher.process(50) == 100  # it recovers at once
        await batcher.close()

    asyncio.run(story())


def test_what_is_too_late_is_not_begun() -> None:
    async def story() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, 0.05)
        worker.gate.clear()
        first = asyncio.create_task(batcher.process(1))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(batcher.process(2))
        await asyncio.sleep(0.1)
        worker.gate.set()
        assert await first == 2
        with pytest.raises(BusyError):
            await second
        assert worker.batches == [[1]]
        await batcher.close()

    asyncio.run(story())


def test_a_room_is_not_filled_beyond_its_size_and_takes_all_or_none() -> None:
    async def story() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, 5.0, max_queue_length=3)
        with pytest.raises(BusyError):
            await batcher.process_all([1, 2, 3, 4])
        assert worker.batches == []
        assert await batcher.process_all([1, 2, 3]) == [2, 4, 6]
        await batcher.close()

    asyncio.run(story())


def test_a_failure_is_told_to_those_whom_it_struck() -> None:
    async def story() -> None:
        batcher: Batcher[int, int] = Batcher(Worker(), 5.0)
        with pytest.raises(ValueError, match="thirteen"):
            await batcher.process_all([13, 14])
        assert await batcher.process(1) == 2
        await batcher.close()

    asyncio.run(story())


def test_an_asker_who_left_is_not_worked_for() -> None:
    async def story() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, 5.0, max_batch_size=1)
        worker.gate.clear()
        stays = asyncio.create_task(batcher.process(1))
        await asyncio.sleep(0.02)
        leaves = asyncio.create_task(batcher.process(2))
        await asyncio.sleep(0.02)
        leaves.cancel()
        await asyncio.sleep(0)
        worker.gate.set()
        assert await stays == 2
        await batcher.close()
        assert worker.batches == [[1]]

    asyncio.run(story())


def test_closing_finishes_what_waits_and_takes_nothing_more() -> None:
    async def story() -> None:
        worker = Worker(seconds=0.05)
        batcher: Batcher[int, int] = Batcher(worker, 5.0, max_batch_size=1)
        asked = [asyncio.create_task(batcher.process(i)) for i in range(3)]
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await batcher.process(9)
        assert await asyncio.gather(*asked) == [0, 2, 4]
        await closing

    asyncio.run(story())


def test_a_hurried_close_turns_away_what_is_not_finished() -> None:
    async def story() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, 5.0, max_batch_size=1, thread=DaemonExecutor())
        worker.gate.clear()
        asked = [asyncio.create_task(batcher.process(i)) for i in range(3)]
        await asyncio.sleep(0.02)
        begin = time.perf_counter()
        await batcher.close(0.1)
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert 0.1 <= time.perf_counter() - begin < 1
        assert [type(one) for one in found] == [BusyError] * 3
        worker.gate.set()

    asyncio.run(story())


def test_a_hurried_close_finishes_what_it_can() -> None:
    async def story() -> None:
        worker = Worker()
        batcher: Batcher[int, int] = Batcher(worker, 5.0, max_batch_size=1)
        asked = [asyncio.create_task(batcher.process(i)) for i in range(3)]
        await asyncio.sleep(0)
        await batcher.close(5.0)
        assert await asyncio.gather(*asked) == [0, 2, 4]

    asyncio.run(story())


def test_a_batcher_is_busy_until_nobody_comes_back() -> None:
    async def story() -> None:
        worker = Worker(seconds=0.02)
        batcher: Batcher[int, int] = Batcher(worker, 5.0)
        assert not batcher.busy
        worker.gate.clear()
        asked = asyncio.create_task(batcher.process(1))
        await asyncio.sleep(0.02)
        assert batcher.queue_length == 0
        assert batcher.busy  # one is under way
        worker.gate.set()
        await asked
        await asyncio.sleep(0)
        assert batcher.busy  # it waits for those who come back
        await asyncio.sleep(0.2)
        assert not batcher.busy
        await batcher.close()

    asyncio.run(story())


def test_what_is_done_aside_gives_its_result_or_its_failure() -> None:
    aside = DaemonExecutor()
    assert aside.submit(pow, 2, 5).result(5) == 32
    assert aside.submit(threading.current_thread).result(5).daemon
    with pytest.raises(ZeroDivisionError):
        aside.submit(divmod, 1, 0).result(5)
