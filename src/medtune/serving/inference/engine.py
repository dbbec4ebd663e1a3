"""Run a question through the guards and the model, and store the request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from medtune.core.errors import ModelError, RetrievalError, StoreError
from medtune.core.records import MIN_OPTIONS, Question
from medtune.core.schemas.guardrails import Inquiry, OptionScores, strictest_action
from medtune.guardrails.answer_guards import unavailable_verdict
from medtune.guardrails.inquiry_text import normalize_text
from medtune.guardrails.moderation import ModerationGuard
from medtune.guardrails.pipeline import (
    GuardOutcome,
    Guards,
    moderate,
    run_local_guards,
    scan_for_crisis,
    timeout_verdict,
)
from medtune.serving.inference.predictor import HealthCheck, Predictor, predict_batch
from medtune.serving.inference.reply import build_question, build_reply, reply_status
from medtune.serving.inference.request_batcher import Batcher, BusyError, create_model_executor
from medtune.serving.inference.shadow import Shadow
from medtune.serving.metrics import Metrics
from medtune.serving.middleware import log
from medtune.serving.schemas import AnswerReviewItem, Reply, RequestRecord
from medtune.serving.storage.requests import StoredRequest
from medtune.serving.storage.store import Store

MAX_WAIT_S = 10.0
"""Longest that a question may wait for the model."""
GUARD_TIMEOUT_S = 5.0
"""Longest that the guards may take; a question that they did not finish is refused."""
STORE_BATCH_SIZE = 256
"""Requests in one database transaction."""
CRISIS_STORE_TIMEOUT_S = 0.25
"""Longest that a crisis reply waits for its request to be stored."""
MAX_PENDING_CRISES = 64
"""Crisis requests that may wait to be stored; further ones are not stored."""
MODERATION_THREADS, MODERATED_OF_CALLER = 16, 8
"""Most questions that wait for the server of a moderation model at the same time; of one caller."""
MODERATION_ROUNDS = 4
"""Limit of the moderation of a batch, in the policy's limit of one request."""
NO_QUESTION = "scope.no_question"


@dataclass(frozen=True, slots=True)
class _PendingQuestion:
    """A question that is being answered."""

    inquiry: Inquiry
    guarded: GuardOutcome
    text_hmac: str
    """Keyed hash of the normalized inquiry, or of the raw one if the guards timed out."""
    length: int
    """Length of the same text in characters."""
    start: float
    """Start time on `time.perf_counter`, in seconds."""

    @property
    def refused(self) -> bool:
        return strictest_action(self.guarded.verdicts) == "refuse"

    @property
    def is_crisis(self) -> bool:
        return any(verdict.card == "crisis" for verdict in self.guarded.verdicts)

    @property
    def answer_guard_inquiry(self) -> Inquiry:
        """The inquiry for the answer guards; an unlisted subject counts as unknown."""
        clean = self.guarded.inquiry
        return self.inquiry if clean is None or clean.subject is None else clean

    def to_question(self) -> Question:
        """Return the question for the model."""
        assert self.guarded.inquiry is not None, "a refused inquiry has no question"
        return build_question(self.inquiry, self.guarded.inquiry)


class Engine:
    """The answering service of one process: guards, model, shadow and store.

    The `shadow` neither delays nor changes an answer.

    Args:
        predictor: The predictor in use.
        store: Where requests are stored; None stores nothing and disables reviews.
        secret: Key of the hashes that identify equal questions.
        metrics: Prometheus metrics of the process.
        patience_s: Longest that a question may wait for the model.
        thread: The thread in which the model was loaded; None creates one.
        guards_s: Longest that a request waits for the guards.
    """

    def __init__(
        self,
        predictor: Predictor,
        store: Store | None,
        secret: bytes,
        metrics: Metrics,
        patience_s: float = MAX_WAIT_S,
        thread: ThreadPoolExecutor | None = None,
        guards_s: float = GUARD_TIMEOUT_S,
    ) -> None:
        self.predictor, self.store, self.metrics = predictor, store, metrics
        self._secret, self._patience_s = secret, patience_s
        self._thread = thread or create_model_executor()
        self._guards_s = guards_s
        self._guard_thread = ThreadPoolExecutor(1, thread_name_prefix="guards")
        # Callers over their limit use a thread of their own, so that they delay nobody else.
        self._crisis_thread = ThreadPoolExecutor(1, thread_name_prefix="crises")
        # These wait for a server, if the policy names one; they are started when they are needed.
        self._moderation_threads = ThreadPoolExecutor(
            MODERATION_THREADS, thread_name_prefix="moderation"
        )
        self._moderation_turns = defaultdict[str | None, asyncio.Semaphore](
            lambda: asyncio.Semaphore(MODERATED_OF_CALLER)
        )
        self._caller_locks = defaultdict[tuple[ThreadPoolExecutor, str | None], asyncio.Lock](
            asyncio.Lock
        )
        self.shadow = Shadow(store, metrics, self._thread)
        self._batcher: Batcher[tuple[Predictor, Question], OptionScores] | None = None
        self._store_batcher: Batcher[StoredRequest, None] | None = None
        self._fault: ModelError | None = None
        self._crisis_tasks: set[asyncio.Task[None]] = set()

    def _queue_length(self) -> float:
        return self._batcher.queue_length if self._batcher else 0

    def check_model(self) -> None:
        """Check that the model answers; an earlier fault is cleared once its server is back.

        Raises:
            ModelError: The last call failed, and the model has not recovered.
        """
        if self._fault is None:
            return
        of_index = isinstance(self._fault.__cause__, RetrievalError)
        if not of_index and not isinstance(self.predictor.model, HealthCheck):
            raise self._fault
        self.predictor.check()
        self._fault = None

    async def start(self) -> None:
        """Start the batchers and the shadow."""
        self._batcher = Batcher(
            self._predict_batch,
            self._patience_s,
            watch=self.metrics.observe_batch,
            thread=self._thread,
        )
        # The answers of a batch arrive together: one transaction waits for the disk once.
        self._store_batcher = Batcher(
            self._store_batch, self._patience_s, max_batch_size=STORE_BATCH_SIZE, lingers=False
        )
        await self.shadow.start(self._batcher)
        self.metrics.add_gauge(
            "medtune_waiting", "Questions waiting for the model.", self._queue_length
        )

    async def close(self) -> None:
        """Answer the waiting questions, then stop."""
        await self.shadow.close()
        if self._crisis_tasks:
            await asyncio.wait(self._crisis_tasks, timeout=self._patience_s)
        for batcher in (self._batcher, self._store_batcher):
            if batcher is not None:
                await batcher.close()
        for thread in (self._guard_thread, self._crisis_thread, self._moderation_threads):
            thread.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self, inquiries: Sequence[Inquiry], caller: str | None, rejection: Exception | None = None
    ) -> list[Reply]:
        """Answer all of the inquiries or none; a crisis always gets its card.

        If the others cannot be answered, a crisis still gets its card and they are deferred.

        Args:
            inquiries: As received.
            caller: Name of the caller's key.
            rejection: Why the caller is rejected unless there is a crisis; None admits the caller.

        Raises:
            BusyError: The questions would wait too long.
            ModelError: The model fails, or its server cannot be reached.
            StoreError: The requests cannot be stored.
            Exception: The given `rejection`.
        """
        predictor = self.predictor  # may be replaced meanwhile
        # Guards run before a caller is rejected; for a rejected caller only the crisis guard runs.
        until, rejected = time.monotonic() + self._guards_s, rejection is not None
        asked = [
            await self._run_guards(inquiry, predictor, until, caller, only_crisis=rejected)
            for inquiry in inquiries
        ]
        if not rejected:
            asked = await self._moderate_all(asked, predictor, caller)
        urgent = [one.is_crisis for one in asked]
        calm = [one for one in asked if not one.is_crisis]
        try:
            if rejection is not None:
                raise rejection
            answered = iter(await self._answer_all(calm, predictor, caller))
        except Exception as error:
            if not any(urgent):
                raise
            log.warning("deferred next to a crisis", fault=type(error).__name__)
            answered = iter([self._defer_unavailable(one, predictor) for one in calm])
        helped = iter(
            await self._answer_crises([one for one in asked if one.is_crisis], predictor, caller)
        )
        return [next(helped if crisis else answered) for crisis in urgent]

    async def only_lacks_options(self, inquiry: Inquiry, caller: str | None) -> bool:
        """Return whether missing options are all that the guards object to."""
        if len(inquiry.options) >= MIN_OPTIONS:
            return False
        until = time.monotonic() + self._guards_s
        asked = await self._run_guards(inquiry, self.predictor, until, caller)
        return asked.guarded.verdicts[-1].reason == NO_QUESTION

    async def _answer_crises(
        self, asked: Sequence[_PendingQuestion], predictor: Predictor, caller: str | None
    ) -> list[Reply]:
        """Answer crises with their card, and store the requests without waiting long."""
        replies = [self._build_reply(one, None, predictor, caller) for one in asked]
        for reply, entry, _ in replies:
            self.metrics.count_reply(reply, entry.duration_s)
        if replies and self.store is not None and len(self._crisis_tasks) < MAX_PENDING_CRISES:
            task = asyncio.create_task(self._try_store(replies))
            self._crisis_tasks.add(task)
            task.add_done_callback(self._crisis_tasks.discard)
            await asyncio.wait([task], timeout=CRISIS_STORE_TIMEOUT_S)
        return [reply for reply, _, _ in replies]

    async def _try_store(
        self, replies: Sequence[tuple[Reply, RequestRecord, AnswerReviewItem | None]]
    ) -> None:
        assert self._store_batcher is not None, "start it first"
        try:
            await self._store_batcher.process_all([(entry, item) for _, entry, item in replies])
        except (BusyError, StoreError) as error:
            log.warning("a crisis was not stored", fault=getattr(error, "found", "busy"))

    def _defer_unavailable(self, asked: _PendingQuestion, predictor: Predictor) -> Reply:
        """Defer a question that could not be answered; it is not stored."""
        verdicts = (*asked.guarded.verdicts, unavailable_verdict())
        status = reply_status(verdicts, reviewed=False)
        reply = build_reply(
            uuid.uuid4().hex, status, verdicts, None, predictor.calibration, predictor.release
        )
        self.metrics.count_reply(reply, time.perf_counter() - asked.start)
        return reply

    async def _answer_all(
        self, asked: Sequence[_PendingQuestion], predictor: Predictor, caller: str | None
    ) -> list[Reply]:
        """Answer all of the questions or none."""
        assert self._batcher is not None, "start it first"
        assert self._store_batcher is not None, "both are started"
        put = [(one.answer_guard_inquiry, one.to_question()) for one in asked if not one.refused]
        found: Iterator[OptionScores] = iter(())
        if put:
            begin = time.perf_counter()
            found = iter(
                await self._batcher.process_all([(predictor, question) for _, question in put])
            )
            self.metrics.observe_stage("model", time.perf_counter() - begin)
        replies = [
            self._build_reply(one, None if one.refused else next(found), predictor, caller)
            for one in asked
        ]
        if replies and self.store is not None:
            begin = time.perf_counter()
            await self._store_batcher.process_all([(entry, item) for _, entry, item in replies])
            self.metrics.observe_stage("store", time.perf_counter() - begin)
        for reply, entry, _ in replies:
            self.metrics.count_reply(reply, entry.duration_s)
        scores = [entry for _, entry, _ in replies if entry.chosen is not None]
        for (inquiry, question), entry in zip(put, scores, strict=True):
            self.shadow.enqueue(inquiry, question, entry, self._stores_content(predictor))
        return [reply for reply, _, _ in replies]

    def _store_batch(self, kept: Sequence[StoredRequest]) -> list[None]:
        assert self.store is not None, "requests are only queued with a store"
        self.store.requests.add_all(kept)
        return [None] * len(kept)

    def _predict_batch(self, batch: Sequence[tuple[Predictor, Question]]) -> list[OptionScores]:
        try:
            found = predict_batch(batch)
        except ModelError as error:
            self._fault = error
            raise
        self._fault = None
        return found

    def _stores_content(self, predictor: Predictor) -> bool:
        """Return whether the policy allows storing more than a request's numbers."""
        return self.store is not None and predictor.policy.privacy.keep != "none"

    async def _run_guards(
        self,
        inquiry: Inquiry,
        predictor: Predictor,
        until: float,
        caller: str | None,
        *,
        only_crisis: bool = False,
    ) -> _PendingQuestion:
        """Run the input guards on a question, in their thread; callers take turns there.

        Args:
            inquiry: As received.
            predictor: It has the policy and the learned guard.
            until: Deadline on the monotonic clock, in seconds; an unfinished question is refused.
            caller: Name of the key; of each caller, one question at a time is queued.
            only_crisis: Run no other guard, for a caller who is rejected.
        """
        start, loop = time.perf_counter(), asyncio.get_running_loop()
        thread = self._crisis_thread if only_crisis else self._guard_thread
        see = partial(_run_input_guards, inquiry, predictor, until, only_crisis)
        try:
            async with (
                asyncio.timeout(until - time.monotonic()),
                self._caller_locks[thread, caller],
            ):
                guarded, text = await loop.run_in_executor(thread, see)
        except TimeoutError:
            guarded, text = GuardOutcome(None, (timeout_verdict(()),)), inquiry.full_text
        self.metrics.observe_stage("guards", time.perf_counter() - start)
        text_hmac = hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
        return _PendingQuestion(inquiry, guarded, text_hmac, len(text), start)

    async def _moderate_all(
        self, asked: Sequence[_PendingQuestion], predictor: Predictor, caller: str | None
    ) -> list[_PendingQuestion]:
        """Ask the policy's moderation model, if there is one, about what is not refused."""
        moderation = predictor.guards.moderation
        if moderation is None:
            return list(asked)
        start = time.perf_counter()
        until = time.monotonic() + MODERATION_ROUNDS * moderation.rule.timeout_s
        moderated = await asyncio.gather(
            *(self._moderate(one, predictor.guards, moderation, until, caller) for one in asked)
        )
        self.metrics.observe_stage("moderation", time.perf_counter() - start)
        return moderated

    async def _moderate(
        self,
        asked: _PendingQuestion,
        guards: Guards,
        moderation: ModerationGuard,
        until: float,
        caller: str | None,
    ) -> _PendingQuestion:
        """Ask the moderation model about a question; what it does not judge is held back."""
        if asked.refused:
            return asked
        loop, work = asyncio.get_running_loop(), partial(moderate, asked.guarded, guards, until)
        try:
            async with asyncio.timeout(until - time.monotonic()), self._moderation_turns[caller]:
                guarded = await loop.run_in_executor(self._moderation_threads, work)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may pass unread
            log.warning("not moderated", fault=type(error).__name__)
            late = moderation.hold_back()
            guarded = replace(asked.guarded, verdicts=(*asked.guarded.verdicts, late))
        return replace(asked, guarded=guarded)

    def _build_reply(
        self,
        asked: _PendingQuestion,
        scores: OptionScores | None,
        predictor: Predictor,
        caller: str | None,
    ) -> tuple[Reply, RequestRecord, AnswerReviewItem | None]:
        """Build the reply, the stored request and, if needed, the review item."""
        verdicts = asked.guarded.verdicts
        if scores is not None:
            verdicts += predictor.apply_answer_guards(asked.answer_guard_inquiry, scores)
        status = reply_status(verdicts, reviewed=self._stores_content(predictor))
        now, request_id = datetime.now(UTC), uuid.uuid4().hex
        reply = build_reply(
            request_id, status, verdicts, scores, predictor.calibration, predictor.release
        )
        inquiry, clean = asked.inquiry, asked.guarded.inquiry
        entry = RequestRecord(
            request_id=request_id,
            time=now,
            caller=caller,
            text_hmac=asked.text_hmac,
            length=asked.length,
            options=len(inquiry.options),
            subject=clean.subject if clean else None,
            status=status,
            reasons=verdicts,
            chosen=scores.chosen if scores else None,
            probabilities=scores.probabilities if scores else None,
            release=predictor.release,
            duration_s=time.perf_counter() - asked.start,
            redacted=clean.full_text
            if clean and predictor.policy.privacy.keep == "redacted"
            else None,
        )
        if status != "pending_review":
            return reply, entry, None
        assert clean is not None, "a refused request is not reviewed"
        held = next(verdict for verdict in verdicts if verdict.action == "defer")
        item = AnswerReviewItem(
            request_id=request_id,
            time=now,
            stem=clean.stem,
            options=clean.options,
            subject=clean.subject,
            topic=held.reason or held.guard,
            proposed=entry.chosen,
            probabilities=entry.probabilities,
            release=predictor.release,
            evidence=scores.evidence.passages if scores and scores.evidence else None,
        )
        return reply, entry, item


def _run_input_guards(
    inquiry: Inquiry, predictor: Predictor, until: float, only_crisis: bool
) -> tuple[GuardOutcome, str]:
    """Run the input guards of this process; return their outcome and the normalized text."""
    if only_crisis:
        found = scan_for_crisis(inquiry, predictor.policy, until)
        guarded = GuardOutcome(None, (found,) if found else ())
    else:
        subjects = predictor.calibration.subjects if predictor.calibration else ()
        guarded = run_local_guards(inquiry, predictor.guards, subjects, until)
    return guarded, normalize_text(inquiry.full_text)
