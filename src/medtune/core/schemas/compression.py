"""What a trained model is packed into, and what must not break on the way."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.intervals import clopper_pearson, fewest_pairs, fewest_trials, tango
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
]
INTEGERS: tuple[Scheme, ...] = ("int8", "int8-dynamic")
"""Files of medtune's own integers."""
GGUF: tuple[Scheme, ...] = ("gguf-q8_0", "gguf-q5_1", "gguf-q4_1")
"""Run by llama.cpp."""


class Budget(Record):
    """How far a packed model may be from the one it was made from."""

    agreement: Probability
    """Least share of questions on which both choose the same option: the exact interval's lower
    end stays above it."""
    loss: Probability
    """Most accuracy that may be lost: the interval of the paired difference stays above -loss."""
    drift: float = Field(ge=0)
    """Most that an option's log-probability may move on average, nats a token: the interval of the
    mean stays below it."""


BUDGETS: dict[Scheme, Budget] = {
    "merge": Budget(agreement=0.985, loss=0.01, drift=0.05),
    "merge-fp16": Budget(agreement=0.985, loss=0.01, drift=0.05),
    "int8": Budget(agreement=0.955, loss=0.01, drift=0.05),
    "int8-dynamic": Budget(agreement=0.93, loss=0.01, drift=0.15),
    "gguf-q8_0": Budget(agreement=0.965, loss=0.01, drift=0.15),
    "gguf-q5_1": Budget(agreement=0.875, loss=0.02, drift=0.4),
    "gguf-q4_1": Budget(agreement=0.825, loss=0.03, drift=0.6),
}
"""For small models, which lose more by rounding than large ones; docs/method.md says why."""

SERVED = Budget(agreement=0.98, loss=0.01, drift=0.05)
"""Of a model that says it is the same: behind a server, or converted elsewhere."""


def over_budget(
    budget: Budget,
    agreement: Proportion,
    drift_high: float | None,
    unit: str,
    comparison: ComparisonRecord | None = None,
) -> tuple[str, ...]:
    """Say in words what is over budget, on the unfavourable ends of 95 % intervals.

    Args:
        budget: What is allowed.
        agreement: Share of questions with the same choice; its exact lower end is held.
        drift_high: Upper end of the mean change of an option's log-probability; None where too few
            questions give none.
        unit: Of the drift.
        comparison: Of the accuracy, paired; None where it was not measured.
    """
    n, broken = agreement.n, []
    low = clopper_pearson(round(agreement.value * n), n).low
    if low < budget.agreement:
        broken.append(
            f"the same option on {100 * low:.1f} % at least, "
            f"{100 * budget.agreement:.1f} wanted{_too_few(n, budget.agreement)}"
        )
    if comparison is not None:
        lost = -tango(comparison.only_a, comparison.only_b, comparison.n)[0]
        if lost > budget.loss:
            broken.append(
                f"up to {100 * lost:.1f} points of accuracy may be lost, "
                f"at most {100 * budget.loss:.1f} allowed{_too_few_pairs(n, budget.loss)}"
            )
    if drift_high is None:
        broken.append(f"{n} questions are too few for an interval of the drift")
    elif drift_high > budget.drift:
        broken.append(
            f"log-probabilities move by up to {drift_high:.3f} {unit} on average, "
            f"at most {budget.drift:.3f} allowed"
        )
    return tuple(broken)


def _too_few(n: int, agreement: float) -> str:
    """Say how many questions show an agreement, where so few cannot even if all agree."""
    least = fewest_trials(1 - agreement) if agreement < 1 else None
    return f" ({least} questions or more can show it, not {n})" if least and n < least else ""


def _too_few_pairs(n: int, loss: float) -> str:
    """Say how many questions exclude a loss, where so few cannot even if nothing is lost."""
    least = fewest_pairs(loss) if loss else None
    return f" ({least} questions or more can exclude it, not {n})" if least and n < least else ""


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
    drift_high: float | None = None
    """Upper end of the mean's 95 % interval, by question; None where it was not made."""
    max_drift: float = Field(ge=0)
    """Largest of them, nats a token."""
    comparison: ComparisonRecord
    """The packed one (b) against the reference (a), paired."""
    calibration_shift: float
    """Change of the calibration error (`findings.CalibrationError`); above 0 is worse."""
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
    latency_p95_high_s: float | None = None
    """Upper end of its 95 % interval, by order statistics; None below 72 questions."""
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
