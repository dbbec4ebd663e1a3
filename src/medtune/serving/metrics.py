"""Prometheus metrics: counts and times, never a text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from medtune.serving.schemas import Reply, ShadowOutcome

DURATION_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32)
PROBABILITY_BUCKETS = tuple(i / 10 for i in range(1, 11))


class Metrics:
    """The metrics of one process, with a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        seconds = partial(histogram, buckets=DURATION_BUCKETS)
        self._requests = counter("medtune_requests_total", "Questions by status.", ["status"])
        self._reasons = counter(
            "medtune_reasons_total",
            "Guard verdicts by guard, action and reason.",
            ["guard", "action", "reason"],
        )
        self._turned_away = counter(
            "medtune_turned_away_total",
            "Rejected requests: busy, rate, key, unavailable.",
            ["why"],
        )
        self._duration = seconds("medtune_request_seconds", "Time from question to reply.")
        self._stages = seconds(
            "medtune_stage_seconds",
            "Time of each stage: guards, model (with queueing), store.",
            ["stage"],
        )
        self._batches = histogram(
            "medtune_batch_size", "Questions in a batch.", buckets=BATCH_SIZE_BUCKETS
        )
        self._batch_seconds = seconds("medtune_batch_seconds", "Time of a batch.")
        self._confidence = histogram(
            "medtune_confidence",
            "Probability of the likeliest option, if it was shown.",
            buckets=PROBABILITY_BUCKETS,
        )
        self._shadow = counter(
            "medtune_shadow_total",
            "Shadow answers: same as the champion's, other, skipped, failed.",
            ["outcome"],
        )

    def add_gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read at every scrape."""
        Gauge(name, what, registry=self.registry).set_function(read)

    def count_reply(self, reply: Reply, seconds: float) -> None:
        """Count a reply."""
        self._requests.labels(reply.status).inc()
        self._duration.observe(seconds)
        for verdict in reply.reasons:
            if verdict.reason is not None:
                self._reasons.labels(verdict.guard, verdict.action, verdict.reason).inc()
        if reply.confidence is not None:
            self._confidence.observe(reply.confidence)

    def observe_stage(self, name: str, seconds: float) -> None:
        """Record the duration of a stage."""
        self._stages.labels(name).observe(seconds)

    def observe_batch(self, size: int, seconds: float) -> None:
        """Record the size and the duration of a batch."""
        self._batches.observe(size)
        self._batch_seconds.observe(seconds)

    def count_rejection(self, why: str) -> None:
        """Count a rejected request."""
        self._turned_away.labels(why).inc()

    def count_shadow_outcome(self, outcome: ShadowOutcome) -> None:
        """Count a shadow's outcome, or that it could not be loaded."""
        self._shadow.labels(outcome).inc()

    def render_prometheus(self) -> bytes:
        """Render the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
