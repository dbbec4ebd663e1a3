"""Ask a second model the same questions without showing its answers.

The shadow never delays the champion. It gets a question after its reply was built and stored, it
starts nothing while the champion is busy, and its answers are written once a second. If it is too
slow or fails, that is counted and has no other effect.
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
from medtune.serving.inference.predictor import HealthCheck, Predictor, is_withheld, predict_batch
from medtune.serving.inference.request_batcher import Batcher, BusyError, DaemonExecutor
from medtune.serving.metrics import Metrics
from medtune.serving.middleware import log
from medtune.serving.schemas import RequestRecord, ShadowAnswer, ShadowOutcome
from medtune.serving.storage.store import Store

MAX_QUEUE_LENGTH = 64
"""Most questions that may wait; further ones are skipped."""
MAX_BATCH_SIZE = 8
"""Most questions in one batch: they fail together."""
POLL_INTERVAL_S = 0.01
"""Seconds between checks whether the champion is idle."""
WRITE_INTERVAL_S = 1.0
"""Seconds between writes: each one may delay the champion's own writes."""
DRAIN_S = 0.4
"""Longest that a stop waits for the model, and then for the store."""


class Shadow:
    """The shadow model of one process.

    Args:
        store: Where its answers are stored; None stores nothing.
        metrics: Prometheus metrics of the process.
        thread: The thread in which the champion runs.

    Attributes:
        predictor: The shadow's predictor; None without a shadow.
    """

    def __init__(self, store: Store | None, metrics: Metrics, thread: ThreadPoolExecutor) -> None:
        self.predictor: Predictor | None = None
        self._store, self._metrics, self._thread = store, metrics, thread
        self._champion: Batcher[Any, Any] | None = None
        self._batcher: Batcher[tuple[Predictor, Question], OptionScores] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[None]] = set()
        self._found: list[ShadowAnswer] = []
        self._aside, self._closed = DaemonExecutor(), threading.Event()
        self._failing = False

    async def start(self, champion: Batcher[Any, Any]) -> None:
        """Start the batcher and the writer; questions of the champion's batcher have priority."""
        self._champion = champion
        self._batcher = Batcher(
            self._predict_batch,
            math.inf,
            max_batch_size=MAX_BATCH_SIZE,
            max_queue_length=MAX_QUEUE_LENGTH,
            thread=self._aside,
            lingers=False,
        )
        self._writer = asyncio.create_task(self._write_periodically())

    async def close(self) -> None:
        """Finish what is quick to finish, drop the rest, and stop."""
        if self._batcher is None or self._writer is None:
            return
        await self._batcher.close(DRAIN_S)
        self._closed.set()
        if self._asked:
            await asyncio.wait(self._asked, timeout=DRAIN_S)
        self._writer.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._write_answers(), DRAIN_S)

    def enqueue(
        self, inquiry: Inquiry, question: Question, entry: RequestRecord, keeps: bool
    ) -> None:
        """Queue a question that the champion answered, and return at once.

        `keeps` is whether the shadow's answer may be stored.
        """
        predictor = self.predictor
        if predictor is None or predictor.release == entry.release:
            return  # no shadow, or it has become champion
        task = asyncio.create_task(
            self._answer_in_shadow(predictor, inquiry, question, entry, keeps)
        )
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _answer_in_shadow(
        self,
        predictor: Predictor,
        inquiry: Inquiry,
        question: Question,
        entry: RequestRecord,
        keeps: bool,
    ) -> None:
        assert self._batcher is not None, "start it first"
        outcome: ShadowOutcome
        scores, held = None, None
        try:
            scores = await self._batcher.process((predictor, question))
            held = is_withheld(predictor.apply_answer_guards(inquiry, scores))
            outcome = "same" if scores.chosen == entry.chosen else "other"
            self._failing = False
        except BusyError:
            outcome = "skipped"
        except Exception as error:  # noqa: BLE001 - a shadow's failure reaches no caller
            outcome, scores, held = "failed", None, None
            self._log_first_failure(predictor, error)
        self._metrics.count_shadow_outcome(outcome)
        if keeps:
            answer = ShadowAnswer(
                request_id=entry.request_id,
                release=predictor.release,
                outcome=outcome,
                chosen=scores.chosen if scores else None,
                probabilities=scores.probabilities if scores else None,
                unsure=held,
            )
            self._found.append(answer)

    def _log_first_failure(self, predictor: Predictor, error: Exception) -> None:
        """Log the first of consecutive failures."""
        if not self._failing:
            fault = error.found if isinstance(error, MedtuneError) else type(error).__name__
            log.warning("shadow", release=predictor.release, fault=fault)
        self._failing = True

    def _predict_batch(self, batch: Sequence[tuple[Predictor, Question]]) -> list[OptionScores]:
        """Score a batch without delaying the champion.

        A local model runs in the champion's thread, one question at a time, so that the champion
        waits for one question at most. A model behind a server leaves that thread free.
        """
        away = all(isinstance(predictor.model, HealthCheck) for predictor, _ in batch)
        found: list[OptionScores] = []
        for part in [list(batch)] if away else [[one] for one in batch]:
            self._wait_until_idle()
            if isinstance(part[0][0].model, HealthCheck):
                found += predict_batch(part)
            else:
                found += self._thread.submit(predict_batch, part).result()
        return found

    def _wait_until_idle(self) -> None:
        assert self._champion is not None, "start it first"
        while self._champion.busy:
            if self._closed.wait(POLL_INTERVAL_S):
                raise BusyError(POLL_INTERVAL_S)

    async def _write_periodically(self) -> None:
        while True:
            await asyncio.sleep(WRITE_INTERVAL_S)
            await self._write_answers()

    async def _write_answers(self) -> None:
        found, self._found = self._found, []
        if not found or self._store is None:
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._aside, self._store.requests.add_shadow_answers, found)
        except StoreError as error:
            log.warning("shadow", lost=len(found), fault=error.found)
