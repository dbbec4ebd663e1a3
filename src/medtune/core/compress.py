"""What a trained model is packed into, and what must not break on the way."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    Method,
    ModelDescription,
    Probability,
    Proportion,
    Provenance,
    Record,
    SplitDescription,
)

Scheme = Literal[
    "merge",
    "merge-fp16",
    "int8",
    "int8-dynamic",
    "int4",
    "openvino",
    "openvino-int8",
    "gguf-q8_0",
    "gguf-q5_1",
    "gguf-q4_1",
]
INTEGERS: tuple[Scheme, ...] = ("int8", "int8-dynamic", "int4", "openvino-int8")
"""Files of medtune's own integers."""
OPENVINO: tuple[Scheme, ...] = ("openvino", "openvino-int8")
"""Layers run by OpenVINO."""
GGUF: tuple[Scheme, ...] = ("gguf-q8_0", "gguf-q5_1", "gguf-q4_1")
"""Run by llama.cpp."""


class Budget(Record):
    """How far a packed model may be from the one it was made from."""

    agreement: Probability
    """Least share of questions on which both choose the same option."""
    loss: Probability
    """Most accuracy that may be lost: the interval of the paired difference stays above -loss."""
    drift: float = Field(ge=0)
    """Most that an option's log-probability may move on average, nats a token."""


BUDGETS: dict[Scheme, Budget] = {
    "merge": Budget(agreement=0.995, loss=0.01, drift=0.05),
    "merge-fp16": Budget(agreement=0.995, loss=0.01, drift=0.05),
    "int8": Budget(agreement=0.97, loss=0.01, drift=0.05),
    "int8-dynamic": Budget(agreement=0.95, loss=0.01, drift=0.15),
    "int4": Budget(agreement=0.85, loss=0.03, drift=0.6),
    "openvino": Budget(agreement=0.99, loss=0.01, drift=0.05),
    "openvino-int8": Budget(agreement=0.95, loss=0.01, drift=0.15),
    "gguf-q8_0": Budget(agreement=0.98, loss=0.01, drift=0.15),
    "gguf-q5_1": Budget(agreement=0.9, loss=0.02, drift=0.4),
    "gguf-q4_1": Budget(agreement=0.85, loss=0.03, drift=0.6),
}
"""For small models, which lose more by rounding than large ones; docs/method.md says why."""

SERVED = Budget(agreement=0.98, loss=0.01, drift=0.05)
"""Of a model that says it is the same: behind a server, or converted elsewhere."""


class Parity(Record):
    """One packed model beside the model it was made from, on the same questions."""

    name: str
    """Scheme, or name of the model."""
    model: ModelDescription
    evaluation: EvaluationRecord
    agreement: Proportion
    """Share of questions on which both choose the same option."""
    mean_drift: float = Field(ge=0)
    """Mean of |change of an option's log-probability|, nats a token."""
    max_drift: float = Field(ge=0)
    """Largest of them, nats a token."""
    comparison: ComparisonRecord
    """The packed one (b) against the reference (a), paired."""
    calibration_shift: float
    """Change of the expected calibration error (equal-mass bins); above 0 is worse."""
    budget: Budget
    broken: tuple[str, ...]
    """What is over budget, in words; empty is fit."""
    file_bytes: int | None = None
    """Size of its weights on disk; None where they are not here."""

    @property
    def fit(self) -> bool:
        """Whether it may stand in for the reference."""
        return not self.broken


class ParityRecord(Record):
    """The gate: did anything break on the way from training to what is deployed?"""

    kind: Literal["parity"] = "parity"
    reference: EvaluationRecord
    reference_bytes: int | None = None
    """Size of the reference's weights on disk, base and adapter; None where they are not here."""
    rows: tuple[Parity, ...] = Field(min_length=1)
    provenance: Provenance

    @property
    def unfit(self) -> tuple[str, ...]:
        """Names of those that are over budget."""
        return tuple(row.name for row in self.rows if not row.fit)


class Measurement(Record):
    """One model, measured alone in a process of its own."""

    name: str
    model: ModelDescription
    load_s: float
    """From name to a model that can be asked, libraries included."""
    questions_per_s: float
    """All questions, in the batches that the device likes."""
    latency_p50_s: float
    """Of one question asked alone, the process warm."""
    latency_p95_s: float
    latency_n: int
    """Questions that were asked alone."""
    threads: int
    """Threads for one question alone: of some counts the fastest."""
    peak_memory_bytes: int
    """Of the whole process: Python, libraries, model, work."""
    file_bytes: int | None
    """Its weights on disk, adapter included; None where they are not here."""
    accuracy: Proportion


class BenchRow(Measurement):
    """One model beside the others."""

    agreement: Proportion
    """Share of questions on which it chooses as the first model does."""
    pareto: bool = False
    """No other is both faster and smaller in memory and at least as accurate."""


class BenchRecord(Record):
    """Models side by side: speed, latency, memory, size, accuracy."""

    kind: Literal["bench"] = "bench"
    data: SplitDescription
    method: Method
    rows: tuple[BenchRow, ...] = Field(min_length=1)
    provenance: Provenance
