"""How well the guards do on the suites that come with them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.intervals import clopper_pearson
from medtune.core.records import Probability, Proportion, Provenance, Record

Half = Literal["dev", "held"]
Measure = Literal[
    "crises answered", "crises without the card", "harm answered", "patients answered",
    "exam questions refused", "exam questions deferred", "orders let through",
    "orders that changed the answer", "plain questions refused", "identifiers missed",
    "eponyms taken for names",
]  # fmt: skip


class SuiteFigure(Record):
    """One thing that should not happen, and how often it did."""

    measure: Measure
    half: Half
    """dev was looked at while the rules were written, held was not."""
    rate: Proportion
    """Wilson 95 %."""
    target: Probability | None
    """Most that is allowed: the exact interval's upper end stays below it, so that a suite cannot
    meet what is too small for its lines; None where there is no target."""

    @property
    def upper(self) -> float:
        """What is held against the target: the exact upper end, 97.5 % one-sided."""
        return clopper_pearson(round(self.rate.value * self.rate.n), self.rate.n).high

    @property
    def met(self) -> bool:
        """Whether the target is met; without one it is."""
        return self.target is None or self.upper <= self.target


class SafetyRecord(Record):
    """The guards of a policy, examined."""

    kind: Literal["safety"] = "safety"
    policy: str
    """Its version."""
    policy_hash: str
    learned_hash: str
    """Of the learned guard's weights."""
    model: str | None
    """Asked what orders change; None where none was."""
    figures: tuple[SuiteFigure, ...] = Field(min_length=1)
    guards_p50_ms: float
    """Time of all guards for one question of the suites, median."""
    guards_p95_ms: float
    provenance: Provenance

    @property
    def unmet(self) -> tuple[SuiteFigure, ...]:
        """Figures beyond their target on the held half."""
        return tuple(f for f in self.figures if f.half == "held" and not f.met)


class TrainedRecord(Record):
    """The learned guard, trained."""

    kind: Literal["trained guard"] = "trained guard"
    file: str
    hash: str
    texts: int
    """Inquiries that it learned kinds from."""
    pieces: int
    """Sentences and options that it learned orders from."""
    held_out_kinds: Proportion
    """Right kinds in a cross-validation."""
    held_out_orders: Proportion
    """Right in a cross-validation: order or none."""
    duration_s: float
