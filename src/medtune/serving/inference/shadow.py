"""Another model is asked what was asked, beside the one that answers, and nobody is shown it.

It comes second in everything.  It sees a question once its reply is made and kept; it begins
nothing while somebody waits for the champion; what it finds is written once a second.  Where it is
too slow or fails, that is counted, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from medtune.core.errors import MedtuneError, StoreError
from medtune.core.records import Question
from medtune.core.schemas.guardrails import Inquiry, OptionScores
from medtune.serving.inference.predictor import HealthCheck, Predictor, thoughts, unsure
from medtune.serving.inference.request_batcher import Batcher, BusyError, DaemonExecutor
from medtune.serving.metrics import Metrics
from medtune.serving.middleware import log
from medtune.serving.schemas import RequestRecord, ShadowAnswer, ShadowOutcome
from medtune.serving.storage.store import Store

ROOM = 64
"""Questions that wait; one that comes on top of them is skipped."""
MOST = 8
"""Questions in one batch: as many fail together."""
TURN_S = 0.01
"""How often it looks whether the champion has nothing to do."""
KEEP_S = 1.0
"""How often what it found is written: each time, the champion's own writes may have to wait."""
DRAIN_S = 0.4
"""Longest that a stop waits for the model, and then for the store."""


class Shadow:
    """Answers beside the champion; one for each process.

    Args:
        store: Where its answers are kept; None keeps nothing.
        metrics: What is counted.
        thread: In which the champion is asked.

    Attributes:
        mind: What answers; None is no shadow.
    """

    def __init__(self, store: Store | None, metrics: Metrics, thread: ThreadPoolExecutor) -> None:
        self.mind: Predictor | None = None
        self._store, self._metrics, self._thread = store, metrics, thread
        self._champion: Batcher[Any, Any] | None = None
        self._batcher: Batcher[tuple[Predictor, Question], OptionScores] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[None]] = set()
        self._found: list[ShadowAnswer] = []
        self._aside, self._closed = DaemonExecutor(), threading.Event()
        self._failing = False

    async def start(self, champion: Batcher[Any, Any]) -> None:
        """Begin to take questions.

        Args:
            champion: Who waits there comes first.
        """
        self._champion = champion
        self._batcher = Batcher(
            self._think, math.inf, most=MOST, room=ROOM, thread=self._aside, lingers=False
        )
        self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Finish what can be finished at once, drop the rest, and stop."""
        if self._batcher is None or self._writer is None:
            return
        await self._batcher.close(DRAIN_S)
        self._closed.set()
        if self._asked:
            await asyncio.wait(self._asked, timeout=DRAIN_S)
        self._writer.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._keep(), DRAIN_S)

    def see(self, inquiry: Inquiry, question: Question, entry: RequestRecord, keeps: bool) -> None:
        """Have a question answered that was answered, and return at once.

        Args:
            inquiry: What was asked.
            question: What the champion was asked.
            entry: What is kept of it.
            keeps: Whether what the shadow makes of it may be kept, too.
        """
        mind = self.mind
        if mind is None or mind.release == entry.release:
            return  # none, or the one that has become champion
        task = asyncio.create_task(self._answer(mind, inquiry, question, entry, keeps))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _answer(
        self,
        mind: Predictor,
        inquiry: Inquiry,
        question: Question,
        entry: RequestRecord,
        keeps: bool,
    ) -> None:
        assert self._batcher is not None, "start it first"
        outcome: ShadowOutcome
        thought, held = None, None
        try:
            thought = await self._batcher.ask((mind, question))
            held = unsure(mind.judged(inquiry, thought))
            outcome = "same" if thought.chosen == entry.chosen else "other"
            self._failing = False
        except BusyError:
            outcome = "skipped"
        except Exception as error:  # noqa: BLE001 - whatever befalls it, no asker is told
            outcome, thought, held = "failed", None, None
            self._tell(mind, error)
        self._metrics.shadow(outcome)
        if keeps:
            answer = ShadowAnswer(
                request_id=entry.request_id,
                release=mind.release,
                outcome=outcome,
                chosen=thought.chosen if thought else None,
                probabilities=thought.probabilities if thought else None,
                unsure=held,
            )
            self._found.append(answer)

    def _tell(self, mind: Predictor, error: Exception) -> None:
        """Log the first of some failures in a row."""
        if not self._failing:
            fault = error.found if isinstance(error, MedtuneError) else type(error).__name__
            log.warning("shadow", release=mind.release, fault=fault)
        self._failing = True

    def _think(self, batch: Sequence[tuple[Predictor, Question]]) -> list[OptionScores]:
        """Score some, in a thread that computes nothing itself.

        What computes here is asked in the champion's thread, question by question: whoever comes
        meanwhile waits for one of them at most.  What a server computes keeps that thread free.
        """
        away = all(isinstance(mind.model, HealthCheck) for mind, _ in batch)
        found: list[OptionScores] = []
        for part in [list(batch)] if away else [[one] for one in batch]:
            self._wait_for_turn()
            if isinstance(part[0][0].model, HealthCheck):
                found += thoughts(part)
            else:
                found += self._thread.submit(thoughts, part).result()
        return found

    def _wait_for_turn(self) -> None:
        assert self._champion is not None, "start it first"
        while self._champion.busy:
            if self._closed.wait(TURN_S):
                raise BusyError(TURN_S)

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            await self._keep()

    async def _keep(self) -> None:
        found, self._found = self._found, []
        if not found or self._store is None:
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._aside, self._store.keep_shadows, found)
        except StoreError as error:
            log.warning("shadow", lost=len(found), fault=error.found)
