"""Records of the gate: margins, evidence, rule results and verdicts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from medtune.core.records import (
    ComparisonRecord,
    ForgettingRecord,
    Probability,
    Proportion,
    Provenance,
    Record,
    SplitDescription,
)
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlices
from medtune.core.schemas.compression import SERVED_BUDGET, BenchRecord, Budget, ParityRecord
from medtune.core.schemas.safety import Measure, SafetyRecord
from medtune.releases.schema import FileRef

RuleName = Literal[
    "accuracy", "search", "subjects", "negation", "orders", "calibration", "regression", "general",
    "safety", "parity", "latency",
]  # fmt: skip
Outcome = Literal["passed", "failed", "missing", "waived"]


End = Literal["lower", "upper"]
"""Which end of a 95 % interval a rule compares with its bound."""
ONE_SIDED = 0.975
"""Level of that end alone: nominally 2.5 % of candidates exactly at the margin pass."""


class LeastQuestions(Record):
    """Least number of questions of each rule; docs/method.md shows the power."""

    accuracy: int = Field(default=500, ge=1)
    """A loss of one point is excluded by 476 or more, if no question at all is lost or won.  Holds
    without a champion as well."""
    search: int = Field(default=100, ge=1)
    subjects: int = Field(default=100, ge=1)
    """Per subject; smaller ones are pooled."""
    negation: int = Field(default=100, ge=1)
    orders: int = Field(default=100, ge=1)
    calibration: int = Field(default=200, ge=1)
    regression: int = Field(default=100, ge=1)
    general: int = Field(default=100, ge=1)
    texts: int = Field(default=30, ge=1)
    """Plain texts of the rule `general`."""
    parity: int = Field(default=200, ge=1)
    latency: int = Field(default=72, ge=1)
    """With fewer, the 95th percentile has no upper bound."""


class Margins(Record):
    """Largest losses that a candidate may have; read from a TOML file.

    Every rule compares the unfavourable end of an interval with its margin, one-sided at 97.5 %.
    """

    version: str = "starter-4"
    accuracy: Probability = 0.01
    """Largest loss of accuracy against the champion: lower end of the interval."""
    search: float = Field(default=0.0, ge=-1, le=1)
    """Least advantage in accuracy over a text search in the training questions: lower end of the
    interval. A negative one allows the search to be better."""
    subjects: Probability = 0.15
    """Largest loss of accuracy in any subject: lower end of each interval."""
    negation: Probability = 0.05
    """Largest loss of accuracy on negated questions: lower end of the interval."""
    flips: Probability = 0.5
    """Largest share of answers that depend on the order of options: upper end."""
    calibration: Probability = 0.15
    """Largest calibration error after temperature scaling: upper end."""
    regression: Probability = 0.1
    """Largest share of the frozen suite that the champion answers right and the candidate wrong:
    upper end."""
    general: Probability = 0.15
    """Largest loss of accuracy on the general questions against the base model: lower end of the
    interval. 120 questions see a collapse, not a few lost facts (docs/method.md)."""
    text_loss: float = Field(default=0.05, ge=0)
    """Largest rise of the loss on plain text against the base model, in bits per byte: upper end of
    the interval."""
    safety: tuple[Measure, ...] = (
        "crises answered",
        "harm answered",
        "patients answered",
        "exam questions refused",
        "plain questions refused",
    )
    """Guard failures that must meet their targets on the held-out half."""
    agreement: Probability = SERVED_BUDGET.agreement
    """Least share of frozen questions on which the endpoint and the model offline choose the same
    option: lower end."""
    drift: float = Field(default=SERVED_BUDGET.drift, ge=0)
    """Largest mean change of the options' log-probabilities by the endpoint, in nats: upper end."""
    withheld: Probability = 0.05
    """Largest share of frozen questions that the guards hold back, which cannot be compared: upper
    end."""
    latency_s: float = Field(default=1.0, gt=0)
    """Largest 95th percentile of the seconds per question: upper end."""
    least: LeastQuestions = LeastQuestions()
    """Least number of questions of each rule."""
    waivable: tuple[RuleName, ...] = (
        "accuracy", "search", "subjects", "negation", "orders", "general", "latency",
    )  # fmt: skip
    """Rules that a person may waive."""


class Waiver(Record):
    """A person's waiver of a rule that fails."""

    rule: RuleName
    name: str = Field(min_length=1)
    reason: str = Field(min_length=10)


class Suite(Record):
    """The frozen suite: questions that every release is asked and none is trained on."""

    kind: Literal["suite"] = "suite"
    source: str
    """Source of the questions."""
    n: int = Field(ge=1)
    hash: str
    """Hash of the questions, as `SplitDescription.hash`."""
    file: FileRef
    """The questions, one JSON object a line, in the registry's objects."""
    frozen: datetime
    """UTC."""


class ChangedAnswer(Record):
    """A question that two releases answer differently."""

    id: str
    stem: str
    options: tuple[str, ...]
    answer: int
    """Index of the right option."""
    before: int | None
    """Option chosen by the champion; None if it chose none."""
    after: int | None


class RegressionRecord(Record):
    """Results of a candidate on the frozen suite."""

    kind: Literal["regression"] = "regression"
    suite: Suite
    accuracy: Proportion
    trained_on: int | None
    """Number of suite questions, or near duplicates, that medtune trained the candidate on; 0 for
    an untrained one. What a base model was pretrained on is unknown and not counted. None if nobody
    searched, or the training data are unknown."""
    comparison: ComparisonRecord | None
    """Comparison with the champion; None without one."""
    lost: Proportion | None
    """Share that the champion answers right and the candidate wrong; Wilson 95 %."""
    changed: tuple[ChangedAnswer, ...]
    """All changed answers, right or wrong."""


class Difference(Record):
    """The differences of two releases."""

    kind: Literal["release difference"] = "release difference"
    a: str
    b: str
    fields: dict[str, tuple[str, str]]
    """Fields that differ, as text."""
    files: dict[str, Literal["added", "removed", "changed"]]
    """Changes from a to b."""
    answers: tuple[ChangedAnswer, ...] | None
    """Frozen questions with different answers; None if b was not evaluated against a."""


class ServedRecord(Record):
    """Parity of the endpoint with the model offline, on the frozen suite."""

    kind: Literal["served"] = "served"
    agreement: Proportion
    """Share of questions on which both choose the same option; Wilson 95 %."""
    held: int = Field(ge=0)
    """Questions that the guards hold back; they are not compared, and the gate limits them."""
    mean_drift: float = Field(ge=0)
    """Mean absolute change of an option's log-probability, in nats, of normalized probabilities."""
    drift_high: float | None = None
    """Upper end of the mean's 95 % interval, by question; None if it was not computed."""
    max_drift: float = Field(ge=0)
    budget: Budget
    broken: tuple[str, ...]
    """Budgets that are exceeded, in words."""
    provenance: Provenance


class Evidence(Record):
    """Everything that the gate reads; None for what was not measured."""

    comparison: ComparisonRecord | None = None
    """The candidate (b) against the champion (a)."""
    slices: PairedSlices | None = None
    analysis: AnalysisRecord | None = None
    """Of the candidate, in all cyclic orders, with a calibration, beside a text search."""
    regression: RegressionRecord | None = None
    general: ForgettingRecord | None = None
    """The candidate beside its base model."""
    safety: SafetyRecord | None = None
    served: ServedRecord | None = None
    packed: ParityRecord | None = None
    """Of a compressed candidate: parity with the original."""
    is_packed: bool = False
    """Whether the candidate is compressed: then `packed` is required."""
    is_trained: bool = True
    """Whether the candidate was trained: then a search in its training questions, and its base
    model's general knowledge, are required."""
    bench: BenchRecord | None = None


EvidenceKind = Literal[
    "comparison", "slices", "analysis", "regression", "general", "safety", "served", "packed",
    "bench",
]  # fmt: skip


class EvidenceRecord(Record):
    """What was measured of a candidate against a champion, and on what, by hash."""

    kind: Literal["evidence"] = "evidence"
    candidate: str
    """Id of the release."""
    champion: str | None
    """Id of the release; None without a champion."""
    suite: str
    """Hash of the frozen questions."""
    data: SplitDescription
    """Questions that results are reported on."""
    calibration: SplitDescription
    """Questions that probabilities were calibrated on."""
    trained_on: SplitDescription | None
    """Train split that was searched for the questions; None if none was."""
    search: str | None = None
    """Hash of the passage index that was searched as a baseline; None if none was."""
    original: str | None
    """Of a compressed candidate: hash of the original weights; None if they were not compared."""
    is_packed: bool
    """Whether the candidate is compressed: then `packed` is required."""
    records: dict[EvidenceKind, FileRef]
    created: datetime
    """UTC."""
    provenance: Provenance


class RuleResult(Record):
    """The result of one rule."""

    rule: RuleName
    outcome: Outcome
    figure: float | None
    """Value compared with the bound: an interval's end, not a point; None if missing."""
    bound: float | None
    end: End | None = None
    """Which end of an interval the figure is, one-sided at 97.5 %; None for a count."""
    n: int | None = None
    """Number of questions behind it."""
    reason: str
    """In words."""
    waiver: Waiver | None = None


class CandidateEvaluation(Record):
    """One evaluation of a candidate; repeated ones inflate the chance of a good result."""

    time: datetime
    """UTC."""
    source: str | None
    """Source of the reported questions; None in records of earlier versions."""
    n: int | None
    hash: str | None


class Binding(Record):
    """Hashes of everything a verdict depends on; checked again before a promotion."""

    margins: str
    policy: str
    """Hash of the policy of the candidate's guards."""
    suite: str | None
    """Hash of the frozen suite; None if none was frozen."""
    evidence: str | None
    """Hash of the evidence record, which names all others; None if nothing was measured."""
    looks: tuple[CandidateEvaluation, ...] = ()
    """All evaluations of the same weights until then, the oldest first."""

    @property
    def distinct_data_sets(self) -> int:
        """Number of different question sets that the candidate was evaluated on."""
        return len({look.hash for look in self.looks})


class GateRecord(Record):
    """The gate's verdict on a candidate."""

    kind: Literal["gate"] = "gate"
    candidate: str
    """Id of the release."""
    champion: str | None
    """Id of the champion; None without one."""
    margins: Margins
    results: tuple[RuleResult, ...] = Field(min_length=1)
    evidence: dict[EvidenceKind, FileRef] = Field(default_factory=dict)
    """The records that were read, in the registry's objects."""
    bound: Binding | None = None
    """What the verdict depends on; None in verdicts of earlier versions, which cannot promote."""

    @property
    def passed(self) -> bool:
        """Whether no rule failed or is missing."""
        return not self.refused

    @property
    def refused(self) -> tuple[RuleResult, ...]:
        """Results that refuse the candidate: failed or missing rules."""
        return tuple(r for r in self.results if r.outcome in ("failed", "missing"))
