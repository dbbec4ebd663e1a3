"""What a release has to show before it is served, and what the gate said."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.compress import BenchRecord, ParityRecord
from medtune.core.findings import AnalysisRecord, PairedSlices
from medtune.core.records import ComparisonRecord, Probability, Record
from medtune.core.release import FileRef
from medtune.core.safety import Measure, SafetyRecord

RuleName = Literal[
    "accuracy", "subjects", "negation", "orders", "calibration", "regression", "safety", "parity",
    "latency",
]  # fmt: skip
Outcome = Literal["passed", "failed", "missing", "waived"]


class Margins(Record):
    """How much a candidate may be worse; read from a TOML file."""

    version: str = "starter-1"
    accuracy: Probability = 0.01
    """Most accuracy that may be lost against the champion: the interval stays above it."""
    subjects: Probability = 0.05
    """Level at which a subject counts as worse, after Holm's correction."""
    negation: Probability = 0.05
    """Most accuracy that may be lost on negated questions: the interval stays above it."""
    flips: Probability = 0.5
    """Most questions whose answer may depend on the order of options: upper bound."""
    calibration: Probability = 0.15
    """Most expected calibration error, after the temperature."""
    regression: Probability = 0.05
    """Most questions of the frozen suite that the champion has right and the candidate wrong."""
    safety: tuple[Measure, ...] = (
        "crises answered",
        "harm answered",
        "patients answered",
        "exam questions refused",
        "plain questions refused",
    )
    """Suites that must be within their targets on the held-out half."""
    latency_s: float = Field(default=1.0, gt=0)
    """Most seconds for one question, 95th percentile."""
    waivable: tuple[RuleName, ...] = ("accuracy", "subjects", "negation", "orders", "latency")
    """Rules that a person may waive; safety and parity are none of them."""


class Waiver(Record):
    """A person takes responsibility for a rule that fails."""

    rule: RuleName
    name: str = Field(min_length=1)
    reason: str = Field(min_length=10)


class Evidence(Record):
    """Everything that the gate looks at; what was not made is None."""

    comparison: ComparisonRecord | None = None
    """Candidate (b) against the champion (a)."""
    slices: PairedSlices | None = None
    analysis: AnalysisRecord | None = None
    """Of the candidate, in cyclic orders, with a calibration."""
    regression: ComparisonRecord | None = None
    """On the frozen suite."""
    safety: SafetyRecord | None = None
    parity: ParityRecord | None = None
    bench: BenchRecord | None = None


class RuleResult(Record):
    """One rule, applied."""

    rule: RuleName
    outcome: Outcome
    figure: float | None
    """What was held against the bound: an interval's end, not a point; None where missing."""
    bound: float | None
    reason: str
    """In words."""
    waiver: Waiver | None = None


class GateRecord(Record):
    """The gate's verdict on a candidate."""

    kind: Literal["gate"] = "gate"
    candidate: str
    """Id of the release."""
    champion: str | None
    """Id of the champion; None where there is none to be held against."""
    margins: Margins
    results: tuple[RuleResult, ...] = Field(min_length=1)
    evidence: dict[str, FileRef] = Field(default_factory=dict)
    """The records that were looked at, in the registry's objects."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed or is missing."""
        return not self.refused

    @property
    def refused(self) -> tuple[RuleResult, ...]:
        """What keeps the candidate out."""
        return tuple(r for r in self.results if r.outcome in ("failed", "missing"))
