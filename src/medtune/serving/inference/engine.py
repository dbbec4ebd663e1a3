"""One question's way through the guards, the model, and what is kept of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from medtune.core.errors import ModelError, StoreError
from medtune.core.records import MIN_OPTIONS, Question
from medtune.core.schemas.guardrails import Inquiry, OptionScores, strictest
from medtune.guardrails.answer_guards import unavailable
from medtune.guardrails.inquiry_text import fold
from medtune.guardrails.pipeline import GuardOutcome, crisis_in, look
from medtune.guardrails.pipeline import late as out_of_time
from medtune.serving.inference.predictor import HealthCheck, Predictor, thoughts
from medtune.serving.inference.reply import question_of, reply_of, status_of
from medtune.serving.inference.request_batcher import Batcher, BusyError, model_thread
from medtune.serving.inference.shadow import Shadow
from medtune.serving.metrics import Metrics
from medtune.serving.middleware import log
from medtune.serving.schemas import AnswerReviewItem, Reply, RequestRecord
from medtune.serving.storage.store import Store

PATIENCE_S = 10.0
"""Longest that a question may wait for the model."""
GUARDS_S = 5.0
"""Longest that a request waits for the guards; what they have not looked at then is refused."""
MOST_KEPT = 256
"""Requests in one transaction."""
CRISIS_S = 0.25
"""Longest that a crisis card waits for its request to be kept."""
MOST_ASIDE = 64
"""Crises whose keeping is waited for at once; of more, none is kept."""
NO_QUESTION = "scope.no_question"


@dataclass(frozen=True, slots=True)
class _PendingQuestion:
    """A question on its way."""

    inquiry: Inquiry
    looked: GuardOutcome
    text_hmac: str
    """Keyed hash of the folded inquiry; of it as it came, where the guards had no time."""
    length: int
    """Characters of the same."""
    start: float
    """Seconds on the performance counter."""

    @property
    def refused(self) -> bool:
        return strictest(self.looked.verdicts) == "refuse"

    @property
    def urgent(self) -> bool:
        return any(verdict.card == "crisis" for verdict in self.looked.verdicts)

    @property
    def judged(self) -> Inquiry:
        """What the guards after the model see: a subject that is not listed is an unknown one."""
        clean = self.looked.inquiry
        return self.inquiry if clean is None or clean.subject is None else clean

    def question(self) -> Question:
        """Make what a model is asked."""
        assert self.looked.inquiry is not None, "no refused inquiry is asked"
        return question_of(self.inquiry, self.looked.inquiry)


class Engine:
    """Answers questions; one for each process.

    Whatever its `shadow` does, answers neither wait for it nor show it.

    Args:
        mind: What answers.
        store: Where it is kept; None keeps nothing, and nobody can look at an answer first.
        secret: Key of the hashes by which equal questions are seen.
        metrics: What is counted.
        patience_s: Longest that a question may wait for the model.
        thread: In which the model was opened (`model_thread`); None is a new one.
        guards_s: Longest that a request waits for the guards.
    """

    def __init__(
        self,
        mind: Predictor,
        store: Store | None,
        secret: bytes,
        metrics: Metrics,
        patience_s: float = PATIENCE_S,
        thread: ThreadPoolExecutor | None = None,
        guards_s: float = GUARDS_S,
    ) -> None:
        self.mind, self.store, self.metrics = mind, store, metrics
        self._secret, self._patience_s = secret, patience_s
        self._thread = thread or model_thread()
        self._guards_s = guards_s
        self._guards = ThreadPoolExecutor(1, thread_name_prefix="guards")
        # Whoever is over a limit takes no turn of those who are not.
        self._crises = ThreadPoolExecutor(1, thread_name_prefix="crises")
        self._lines = defaultdict[tuple[ThreadPoolExecutor, str | None], asyncio.Lock](asyncio.Lock)
        self.shadow = Shadow(store, metrics, self._thread)
        self._batcher: Batcher[tuple[Predictor, Question], OptionScores] | None = None
        self._keeper: Batcher[tuple[RequestRecord, AnswerReviewItem | None], None] | None = None
        self._fault: ModelError | None = None
        self._aside: set[asyncio.Task[None]] = set()

    def _waiting(self) -> float:
        return self._batcher.waiting if self._batcher else 0

    def check(self) -> None:
        """Tell whether the model answers: a fault is forgotten once its server is back.

        Raises:
            ModelError: It failed of late, and has not come back.
        """
        if self._fault is None:
            return
        model = self.mind.model
        if not isinstance(model, HealthCheck):
            raise self._fault
        model.check()
        self._fault = None

    async def start(self) -> None:
        """Begin to take questions."""
        self._batcher = Batcher(
            self._think, self._patience_s, watch=self.metrics.batch, thread=self._thread
        )
        # A batch's answers come together; kept one by one they would wait for the disk in a row.
        self._keeper = Batcher(self._keep, self._patience_s, most=MOST_KEPT, lingers=False)
        await self.shadow.start(self._batcher)
        self.metrics.watch("medtune_waiting", "Questions that wait for the model.", self._waiting)

    async def close(self) -> None:
        """Answer what waits, and stop."""
        await self.shadow.close()
        if self._aside:
            await asyncio.wait(self._aside, timeout=self._patience_s)
        for batcher in (self._batcher, self._keeper):
            if batcher is not None:
                await batcher.close()
        for thread in (self._guards, self._crises):
            thread.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self, inquiries: Sequence[Inquiry], caller: str | None, late: Exception | None = None
    ) -> list[Reply]:
        """Answer some questions, all or none of them; a crisis gets its card whatever happens.

        What cannot be answered beside a crisis is deferred.

        Args:
            inquiries: As they came in.
            caller: Who asks.
            late: Why the caller is turned away, unless there is a crisis; None is not at all.

        Raises:
            BusyError: They would have to wait too long.
            ModelError: The model fails, or its server cannot be reached.
            StoreError: What is answered cannot be kept.
            Exception: What is given as `late`.
        """
        mind = self.mind  # it may be exchanged meanwhile
        # Guards look before anybody is turned away, and of whoever is turned away at a crisis only.
        until, turned_away = time.monotonic() + self._guards_s, late is not None
        asked = [
            await self._looked_at(inquiry, mind, until, caller, only_crisis=turned_away)
            for inquiry in inquiries
        ]
        urgent = [one.urgent for one in asked]
        calm = [one for one in asked if not one.urgent]
        try:
            if late is not None:
                raise late
            answered = iter(await self._answered(calm, mind, caller))
        except Exception as error:
            if not any(urgent):
                raise
            log.warning("deferred beside a crisis", fault=type(error).__name__)
            answered = iter([self._unavailable(one, mind) for one in calm])
        helped = iter(await self._helped([one for one in asked if one.urgent], mind, caller))
        return [next(helped if crisis else answered) for crisis in urgent]

    async def is_no_question(self, inquiry: Inquiry, caller: str | None) -> bool:
        """Tell whether all that the guards mind is that there are no options to choose from."""
        if len(inquiry.options) >= MIN_OPTIONS:
            return False
        until = time.monotonic() + self._guards_s
        asked = await self._looked_at(inquiry, self.mind, until, caller)
        return asked.looked.verdicts[-1].reason == NO_QUESTION

    async def _helped(
        self, asked: Sequence[_PendingQuestion], mind: Predictor, caller: str | None
    ) -> list[Reply]:
        """Give the crisis card; it is kept where that is possible, and waits for nothing."""
        replies = [self._settled(one, None, mind, caller) for one in asked]
        for reply, entry, _ in replies:
            self.metrics.reply(reply, entry.duration_s)
        if replies and self.store is not None and len(self._aside) < MOST_ASIDE:
            task = asyncio.create_task(self._keep_if_possible(replies))
            self._aside.add(task)
            task.add_done_callback(self._aside.discard)
            await asyncio.wait([task], timeout=CRISIS_S)
        return [reply for reply, _, _ in replies]

    async def _keep_if_possible(
        self, replies: Sequence[tuple[Reply, RequestRecord, AnswerReviewItem | None]]
    ) -> None:
        assert self._keeper is not None, "start it first"
        try:
            await self._keeper.ask_all([(entry, item) for _, entry, item in replies])
        except (BusyError, StoreError) as error:
            log.warning("a crisis was not kept", fault=getattr(error, "found", "busy"))

    def _unavailable(self, asked: _PendingQuestion, mind: Predictor) -> Reply:
        """Defer what could not be answered beside a crisis; nothing is kept of it."""
        verdicts = (*asked.looked.verdicts, unavailable())
        status = status_of(verdicts, reviewed=False)
        reply = reply_of(uuid.uuid4().hex, status, verdicts, None, mind.calibration, mind.release)
        self.metrics.reply(reply, time.perf_counter() - asked.start)
        return reply

    async def _answered(
        self, asked: Sequence[_PendingQuestion], mind: Predictor, caller: str | None
    ) -> list[Reply]:
        """Answer some questions, all or none of them."""
        assert self._batcher is not None, "start it first"
        assert self._keeper is not None, "both are started"
        put = [(one.judged, one.question()) for one in asked if not one.refused]
        found: Iterator[OptionScores] = iter(())
        if put:
            begin = time.perf_counter()
            found = iter(await self._batcher.ask_all([(mind, question) for _, question in put]))
            self.metrics.stage("model", time.perf_counter() - begin)
        replies = [
            self._settled(one, None if one.refused else next(found), mind, caller) for one in asked
        ]
        if replies and self.store is not None:
            begin = time.perf_counter()
            await self._keeper.ask_all([(entry, item) for _, entry, item in replies])
            self.metrics.stage("store", time.perf_counter() - begin)
        for reply, entry, _ in replies:
            self.metrics.reply(reply, entry.duration_s)
        thought = [entry for _, entry, _ in replies if entry.chosen is not None]
        for (inquiry, question), entry in zip(put, thought, strict=True):
            self.shadow.see(inquiry, question, entry, self._keeps(mind))
        return [reply for reply, _, _ in replies]

    def _keep(self, kept: Sequence[tuple[RequestRecord, AnswerReviewItem | None]]) -> list[None]:
        assert self.store is not None, "there is something to keep it in"
        self.store.keep_all(kept)
        return [None] * len(kept)

    def _think(self, batch: Sequence[tuple[Predictor, Question]]) -> list[OptionScores]:
        try:
            found = thoughts(batch)
        except ModelError as error:
            self._fault = error
            raise
        self._fault = None
        return found

    def _keeps(self, mind: Predictor) -> bool:
        """Tell whether more of a request is kept than its own numbers."""
        return self.store is not None and mind.policy.privacy.keep != "none"

    async def _looked_at(
        self,
        inquiry: Inquiry,
        mind: Predictor,
        until: float,
        caller: str | None,
        *,
        only_crisis: bool = False,
    ) -> _PendingQuestion:
        """Let the guards look at a question, in their thread; callers take turns there.

        Args:
            inquiry: As it came in.
            mind: Has the policy and the learned guard.
            until: Seconds on the monotonic clock at which it is refused instead.
            caller: Who asks; of each one question at a time stands before those of others.
            only_crisis: Whether only a crisis matters, for its asker is turned away otherwise.
        """
        start, loop = time.perf_counter(), asyncio.get_running_loop()
        thread = self._crises if only_crisis else self._guards
        see = partial(_look, inquiry, mind, until, only_crisis)
        try:
            async with asyncio.timeout(until - time.monotonic()), self._lines[thread, caller]:
                looked, text = await loop.run_in_executor(thread, see)
        except TimeoutError:
            looked, text = GuardOutcome(None, (out_of_time(()),)), inquiry.whole
        self.metrics.stage("guards", time.perf_counter() - start)
        text_hmac = hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
        return _PendingQuestion(inquiry, looked, text_hmac, len(text), start)

    def _settled(
        self,
        asked: _PendingQuestion,
        thought: OptionScores | None,
        mind: Predictor,
        caller: str | None,
    ) -> tuple[Reply, RequestRecord, AnswerReviewItem | None]:
        """Make of guards and model what is answered, kept, and shown to reviewers."""
        verdicts = asked.looked.verdicts
        if thought is not None:
            verdicts += mind.judged(asked.judged, thought)
        status = status_of(verdicts, reviewed=self._keeps(mind))
        now, request_id = datetime.now(UTC), uuid.uuid4().hex
        reply = reply_of(request_id, status, verdicts, thought, mind.calibration, mind.release)
        inquiry, clean = asked.inquiry, asked.looked.inquiry
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
            chosen=thought.chosen if thought else None,
            probabilities=thought.probabilities if thought else None,
            release=mind.release,
            duration_s=time.perf_counter() - asked.start,
            redacted=clean.whole if clean and mind.policy.privacy.keep == "redacted" else None,
        )
        if status != "pending_review":
            return reply, entry, None
        assert clean is not None, "what is refused is not reviewed"
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
            release=mind.release,
        )
        return reply, entry, item


def _look(
    inquiry: Inquiry, mind: Predictor, until: float, only_crisis: bool
) -> tuple[GuardOutcome, str]:
    """Let the guards look at an inquiry; its folded text comes along."""
    if only_crisis:
        found = crisis_in(inquiry, mind.policy, until)
        looked = GuardOutcome(None, (found,) if found else ())
    else:
        subjects = mind.calibration.subjects if mind.calibration else ()
        looked = look(inquiry, mind.policy, mind.classifier, subjects, until)
    return looked, fold(inquiry.whole)
