"""What Prometheus reads: counts and times, never a text."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from medtune.serving.schemas import Reply, ShadowOutcome

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32)
TENTHS = tuple(i / 10 for i in range(1, 11))


class Metrics:
    """Everything that is counted in one process; each has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "medtune_requests_total", "Questions by status.", ["status"], registry=self.registry
        )
        self._reasons = Counter(
            "medtune_reasons_total",
            "What guards remarked, by guard, action and reason.",
            ["guard", "action", "reason"],
            registry=self.registry,
        )
        self._turned_away = Counter(
            "medtune_turned_away_total",
            "Requests that were not taken: busy, rate, key, unavailable.",
            ["why"],
            registry=self.registry,
        )
        self._duration = Histogram(
            "medtune_request_seconds",
            "A question's whole way.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "medtune_stage_seconds",
            "Parts of the way: guards, model (with waiting), store.",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "medtune_batch_size", "Questions in a batch.", buckets=SIZES, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "medtune_batch_seconds", "Time of a batch.", buckets=SECONDS, registry=self.registry
        )
        self._confidence = Histogram(
            "medtune_confidence",
            "Probability of the likeliest option, where it was shown.",
            buckets=TENTHS,
            registry=self.registry,
        )
        self._shadow = Counter(
            "medtune_shadow_total",
            "Answers of the shadow: same or other than the champion's, skipped, failed.",
            ["outcome"],
            registry=self.registry,
        )

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Show a number that is read whenever Prometheus asks."""
        Gauge(name, what, registry=self.registry).set_function(read)

    def reply(self, reply: Reply, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(reply.status).inc()
        self._duration.observe(seconds)
        for verdict in reply.reasons:
            if verdict.reason is not None:
                self._reasons.labels(verdict.guard, verdict.action, verdict.reason).inc()
        if reply.confidence is not None:
            self._confidence.observe(reply.confidence)

    def stage(self, name: str, seconds: float) -> None:
        """Add a part of the way."""
        self._stages.labels(name).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """Add a batch."""
        self._batches.observe(size)
        self._batch_seconds.observe(seconds)

    def turned_away(self, why: str) -> None:
        """Count a request that was not taken."""
        self._turned_away.labels(why).inc()

    def shadow(self, outcome: ShadowOutcome) -> None:
        """Count what a shadow made of a question, or that it could not be opened."""
        self._shadow.labels(outcome).inc()

    def text(self) -> bytes:
        """Write everything in Prometheus' format."""
        return generate_latest(self.registry)
