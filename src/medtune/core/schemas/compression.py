"""Quantization schemes, the budgets of their loss, and the records of parity and benchmarks."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from medtune.core.intervals import (
    clopper_pearson_interval,
    min_answers_for_risk,
    min_pairs_for_margin,
    tango_interval,
)
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
    "gguf-q8_0",
    "gguf-q5_1",
    "gguf-q4_1",
    "gguf-q6_k",
    "gguf-q5_k_m",
    "gguf-q4_k_m",
]
INTEGER_SCHEMES: tuple[Scheme, ...] = ("int8", "int8-dynamic")
"""Schemes in medtune's own integer format."""
GGUF_SCHEMES: tuple[Scheme, ...] = (
    "gguf-q8_0", "gguf-q5_1", "gguf-q4_1", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m",
)  # fmt: skip
"""Schemes that run in llama.cpp."""

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


class Budget(Record):
    """Largest allowed difference between a quantized model and its reference."""

    agreement: Probability
    """Least share of questions on which both choose the same option; compared with the lower
    bound of the exact interval."""
    loss: Probability
    """Largest loss of accuracy; compared with the lower bound of the paired difference."""
    drift: float = Field(ge=0)
    """Largest mean change of an option's log-probability, nats per token; compared with the upper
    bound of the mean."""


BUDGETS: dict[Scheme, Budget] = {
    "merge": Budget(agreement=0.985, loss=0.01, drift=0.05),
    "merge-fp16": Budget(agreement=0.985, loss=0.01, drift=0.05),
    "int8": Budget(agreement=0.955, loss=0.01, drift=0.05),
    "int8-dynamic": Budget(agreement=0.93, loss=0.01, drift=0.15),
    "gguf-q8_0": Budget(agreement=0.965, loss=0.01, drift=0.15),
    "gguf-q5_1": Budget(agreement=0.875, loss=0.02, drift=0.4),
    "gguf-q4_1": Budget(agreement=0.825, loss=0.03, drift=0.6),
    "gguf-q6_k": Budget(agreement=0.93, loss=0.02, drift=0.3),
    "gguf-q5_k_m": Budget(agreement=0.875, loss=0.02, drift=0.4),
    "gguf-q4_k_m": Budget(agreement=0.825, loss=0.03, drift=0.6),
}
"""Budgets for small models, which lose more by rounding than large ones (docs/method.md)."""

SERVED_BUDGET = Budget(agreement=0.98, loss=0.01, drift=0.05)
"""Budget of a model that should be identical: behind a server, or converted elsewhere."""


def budget_violations(
    budget: Budget,
    agreement: Proportion,
    drift_high: float | None,
    unit: str,
    comparison: ComparisonRecord | None = None,
) -> tuple[str, ...]:
    """Describe the violations of a budget, judged by the unfavourable ends of 95 % intervals.

    Args:
        budget: The budget.
        agreement: Share of questions with the same choice; its exact lower bound is compared.
        drift_high: Upper bound of the mean change of an option's log-probability; None if there
            are too few questions for an interval.
        unit: Unit of the drift.
        comparison: Paired comparison of the accuracies; None where it was not measured.
    """
    n, broken = agreement.n, []
    low = clopper_pearson_interval(round(agreement.value * n), n).low
    if low < budget.agreement:
        least = min_answers_for_risk(1 - budget.agreement, 0.975) if budget.agreement < 1 else 0
        broken.append(
            f"the same option on {100 * low:.1f} % at least, "
            f"{100 * budget.agreement:.1f} wanted{_too_few(n, least, 'show')}"
        )
    if comparison is not None:
        lost = -tango_interval(comparison.only_a, comparison.only_b, comparison.n)[0]
        if lost > budget.loss:
            least = min_pairs_for_margin(budget.loss) if budget.loss else 0
            broken.append(
                f"up to {100 * lost:.1f} points of accuracy may be lost, "
                f"at most {100 * budget.loss:.1f} allowed{_too_few(n, least, 'exclude')}"
            )
    if drift_high is None:
        broken.append(f"{n} questions are too few for an interval of the drift")
    elif drift_high > budget.drift:
        broken.append(
            f"log-probabilities move by up to {drift_high:.3f} {unit} on average, "
            f"at most {budget.drift:.3f} allowed"
        )
    return tuple(broken)


def _too_few(n: int, least: int, verb: str) -> str:
    """Return a note if n questions are too few for a bound, even if the models are identical."""
    return f" ({least} questions or more can {verb} it, not {n})" if n < least else ""


class Parity(Record):
    """Paired comparison of a quantized model with its reference, on the same questions."""

    name: str
    """Scheme, or name of the model."""
    model: ModelDescription
    evaluation: EvaluationRecord
    agreement: Proportion
    """Share of questions on which both choose the same option."""
    mean_drift: float = Field(ge=0)
    """Mean absolute change of an option's log-probability, nats per token."""
    drift_high: float | None = None
    """Upper bound of the mean's 95 % interval, by question; None where it was not computed."""
    max_drift: float = Field(ge=0)
    """Largest of these changes, nats per token."""
    comparison: ComparisonRecord
    """Quantized model (b) against the reference (a), paired."""
    calibration_shift: float
    """Change of the calibration error; above 0 is worse."""
    budget: Budget
    broken: tuple[str, ...]
    """Descriptions of the budget's violations; empty if there are none."""
    file_bytes: int | None = None
    """Size of its weights on disk; None where they are not local."""

    @property
    def meets_budget(self) -> bool:
        """Whether the model meets its budget and may replace the reference."""
        return not self.broken


class ParityRecord(Record):
    """Result of the parity gate: quantized models compared with their reference."""

    kind: Literal["parity"] = "parity"
    reference: EvaluationRecord
    reference_bytes: int | None = None
    """Size of the reference's weights on disk, base and adapter; None where they are not local."""
    rows: tuple[Parity, ...] = Field(min_length=1)
    provenance: Provenance

    @property
    def names_over_budget(self) -> tuple[str, ...]:
        """Names of the models that exceed their budget."""
        return tuple(row.name for row in self.rows if not row.meets_budget)


class Measurement(Record):
    """Benchmark of one model, measured in a separate process."""

    name: str
    model: ModelDescription
    load_s: float
    """Time to load the model, imports included."""
    questions_per_s: float
    """Throughput over all questions, in the device's preferred batches."""
    latency_p50_s: float
    """Latency of a single question, after warm-up."""
    latency_p95_s: float
    latency_p95_high_s: float | None = None
    """Upper bound of its 95 % interval, by order statistics; None below 72 questions."""
    latency_n: int
    """Number of questions in the latency measurement."""
    threads: int
    """Number of threads in the latency measurement: the fastest of several counts."""
    peak_memory_bytes: int
    """Peak memory of the whole process: Python, libraries, model, work."""
    file_bytes: int | None
    """Size of its weights on disk, adapter included; None where they are not local."""
    accuracy: Proportion


class BenchRow(Measurement):
    """Benchmark of one model, compared with the others."""

    agreement: Proportion
    """Share of questions on which it chooses the same option as the first model."""
    pareto: bool = False
    """Whether the model is on the Pareto front of speed, memory and accuracy."""


class BenchRecord(Record):
    """Benchmark of several models: speed, latency, memory, size, accuracy."""

    kind: Literal["bench"] = "bench"
    data: SplitDescription
    method: Method
    rows: tuple[BenchRow, ...] = Field(min_length=1)
    provenance: Provenance
