"""What a release has to show before it is served, and what the gate said."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from medtune.core.records import (
    ComparisonRecord,
    Probability,
    Proportion,
    Provenance,
    Record,
    SplitDescription,
)
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlices
from medtune.core.schemas.compression import SERVED, BenchRecord, Budget, ParityRecord
from medtune.core.schemas.safety import Measure, SafetyRecord
from medtune.releases.schema import FileRef

RuleName = Literal[
    "accuracy", "subjects", "negation", "orders", "calibration", "regression", "safety", "parity",
    "latency",
]  # fmt: skip
Outcome = Literal["passed", "failed", "missing", "waived"]


End = Literal["lower", "upper"]
"""Which end of a 95 % interval a rule holds."""
ONE_SIDED = 0.975
"""Level of that end alone: nominally 2.5 % of candidates at the margin pass."""


class LeastQuestions(Record):
    """Questions below which a rule says nothing; docs/method.md shows the power."""

    accuracy: int = Field(default=500, ge=1)
    """A loss of one point is excluded by 476 or more, if no question at all is lost or won.  Holds
    without a champion as well."""
    subjects: int = Field(default=100, ge=1)
    """Of one subject; smaller ones are held together."""
    negation: int = Field(default=100, ge=1)
    orders: int = Field(default=100, ge=1)
    calibration: int = Field(default=200, ge=1)
    regression: int = Field(default=100, ge=1)
    parity: int = Field(default=200, ge=1)
    latency: int = Field(default=72, ge=1)
    """Fewer give a 95th percentile no upper end."""


class Margins(Record):
    """How much a candidate may be worse; read from a TOML file.

    Every rule holds the unfavourable end of an interval against its margin, one-sided at 97.5 %.
    """

    version: str = "starter-2"
    accuracy: Probability = 0.01
    """Most accuracy that may be lost against the champion: the interval stays above it."""
    subjects: Probability = 0.15
    """Most accuracy that may be lost in a subject: every one's interval stays above it."""
    negation: Probability = 0.05
    """Most accuracy that may be lost on negated questions: the interval stays above it."""
    flips: Probability = 0.5
    """Most questions whose answer may depend on the order of options: upper end."""
    calibration: Probability = 0.15
    """Most calibration error, after the temperature: upper end."""
    regression: Probability = 0.1
    """Most questions of the frozen suite that the champion has right and the candidate wrong:
    upper end."""
    safety: tuple[Measure, ...] = (
        "crises answered",
        "harm answered",
        "patients answered",
        "exam questions refused",
        "plain questions refused",
    )
    """Suites that must be within their targets on the held-out half."""
    agreement: Probability = SERVED.agreement
    """Least frozen questions on which the endpoint chooses as the model does offline: lower end."""
    drift: float = Field(default=SERVED.drift, ge=0)
    """Most that the endpoint may move options' log-probabilities on average, nats: upper end."""
    withheld: Probability = 0.05
    """Most frozen questions that the guards may hold back, where nothing can be compared: upper
    end."""
    latency_s: float = Field(default=1.0, gt=0)
    """Most seconds for one question, 95th percentile: upper end."""
    least: LeastQuestions = LeastQuestions()
    """Questions below which a rule says nothing."""
    waivable: tuple[RuleName, ...] = ("accuracy", "subjects", "negation", "orders", "latency")
    """Rules that a person may waive; safety and parity are none of them."""


class Waiver(Record):
    """A person takes responsibility for a rule that fails."""

    rule: RuleName
    name: str = Field(min_length=1)
    reason: str = Field(min_length=10)


class Suite(Record):
    """Questions that every release is asked and none is trained on."""

    kind: Literal["suite"] = "suite"
    source: str
    """Where they were taken from."""
    n: int = Field(ge=1)
    hash: str
    """Of the questions, as `SplitDescription.hash`."""
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
    """What the champion chose; None is none of them."""
    after: int | None


class RegressionRecord(Record):
    """The frozen suite, asked of a candidate."""

    kind: Literal["regression"] = "regression"
    suite: Suite
    accuracy: Proportion
    trained_on: int | None
    """Questions of the suite, or nearly the same, among what medtune taught the candidate: 0 where
    it taught nothing.  What a base read before is not known, and not counted.  None where nobody
    looked, or nobody knows what was taught."""
    comparison: ComparisonRecord | None
    """Against the champion; None where there is none."""
    lost: Proportion | None
    """Share that the champion has right and the candidate wrong; Wilson 95 %."""
    changed: tuple[ChangedAnswer, ...]
    """Every answer that is another one now, right or wrong."""


class Difference(Record):
    """Two releases side by side."""

    kind: Literal["release difference"] = "release difference"
    a: str
    b: str
    fields: dict[str, tuple[str, str]]
    """What differs, as text."""
    files: dict[str, Literal["added", "removed", "changed"]]
    """From a to b."""
    answers: tuple[ChangedAnswer, ...] | None
    """Frozen questions that they answer differently; None where b was not examined beside a."""


class ServedRecord(Record):
    """The frozen suite, asked of the endpoint: does it answer as the model does offline?"""

    kind: Literal["served"] = "served"
    agreement: Proportion
    """Share of questions on which both choose the same option; Wilson 95 %."""
    held: int = Field(ge=0)
    """Questions that the guards hold back; they are not compared, and the gate bounds them."""
    mean_drift: float = Field(ge=0)
    """Mean of |change of an option's log-probability|, nats, options' probabilities adding to 1."""
    drift_high: float | None = None
    """Upper end of the mean's 95 % interval, by question; None where it was not made."""
    max_drift: float = Field(ge=0)
    budget: Budget
    broken: tuple[str, ...]
    """What is over budget, in words."""
    provenance: Provenance


class Evidence(Record):
    """Everything that the gate looks at; what was not made is None."""

    comparison: ComparisonRecord | None = None
    """Candidate (b) against the champion (a)."""
    slices: PairedSlices | None = None
    analysis: AnalysisRecord | None = None
    """Of the candidate, in cyclic orders, with a calibration."""
    regression: RegressionRecord | None = None
    safety: SafetyRecord | None = None
    served: ServedRecord | None = None
    packed: ParityRecord | None = None
    """Of a packed candidate: against what it was packed from."""
    is_packed: bool = False
    """Whether the candidate's weights are packed: then `packed` is wanted."""
    bench: BenchRecord | None = None


EvidenceKind = Literal[
    "comparison", "slices", "analysis", "regression", "safety", "served", "packed", "bench"
]


class EvidenceRecord(Record):
    """What was measured of a candidate beside a champion, and with what, all of it by hash."""

    kind: Literal["evidence"] = "evidence"
    candidate: str
    """Id of the release."""
    champion: str | None
    """Id of the release; None where there was none."""
    suite: str
    """Hash of the frozen questions."""
    data: SplitDescription
    """What is reported on."""
    calibration: SplitDescription
    """What probabilities were calibrated with."""
    trained_on: SplitDescription | None
    """What was searched for the questions; None where nothing was."""
    original: str | None
    """Of a packed candidate: hash of the weights that it was packed from; None where they were not
    asked."""
    is_packed: bool
    """Whether the candidate's weights are packed: then `packed` is wanted."""
    records: dict[EvidenceKind, FileRef]
    created: datetime
    """UTC."""
    provenance: Provenance


class RuleResult(Record):
    """One rule, applied."""

    rule: RuleName
    outcome: Outcome
    figure: float | None
    """What was held against the bound: an interval's end, not a point; None where missing."""
    bound: float | None
    end: End | None = None
    """Which end of an interval the figure is, one-sided at 97.5 %; None for a count."""
    n: int | None = None
    """Questions that it rests on."""
    reason: str
    """In words."""
    waiver: Waiver | None = None


class CandidateEvaluation(Record):
    """One evaluation of a candidate: each is another chance to look good."""

    time: datetime
    """UTC."""
    source: str | None
    """Of the questions that were reported on; None where an earlier version did not say."""
    n: int | None
    hash: str | None


class Binding(Record):
    """What a verdict rests on, by hash; before a release is promoted all of it is held again."""

    margins: str
    policy: str
    """Of the candidate's guards."""
    suite: str | None
    """Of the frozen questions; None where none were frozen."""
    evidence: str | None
    """Of the evidence record, which names every other; None where nothing was measured."""
    looks: tuple[CandidateEvaluation, ...] = ()
    """Every evaluation of the same weights until then, the oldest first."""

    @property
    def sets(self) -> int:
        """Number of different sets of questions that the candidate was evaluated with."""
        return len({look.hash for look in self.looks})


class GateRecord(Record):
    """The gate's verdict on a candidate."""

    kind: Literal["gate"] = "gate"
    candidate: str
    """Id of the release."""
    champion: str | None
    """Id of the champion; None where there is none to be held against."""
    margins: Margins
    results: tuple[RuleResult, ...] = Field(min_length=1)
    evidence: dict[EvidenceKind, FileRef] = Field(default_factory=dict)
    """The records that were looked at, in the registry's objects."""
    bound: Binding | None = None
    """What it rests on; None in a verdict of an earlier version, which promotes nothing."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed or is missing."""
        return not self.refused

    @property
    def refused(self) -> tuple[RuleResult, ...]:
        """What keeps the candidate out."""
        return tuple(r for r in self.results if r.outcome in ("failed", "missing"))
