"""What an analysis finds in one evaluation: typed records, every field explained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import (
    EvaluationRecord,
    Prediction,
    Probability,
    Proportion,
    Provenance,
    Record,
)

Dimension = Literal["subject", "topic", "negation", "length", "letter", "options"]
FailureKind = Literal[
    "plausible option",
    "exception missed",
    "rare topic",
    "letter habit",
    "sure and wrong",
    "format",
]


class Slice(Record):
    """The questions that share one property, beside all others."""

    dimension: Dimension
    name: str
    """A subject, "negated", "50–99 characters", "A", ..."""
    accuracy: Proportion
    """Correct among the slice's n, Wilson 95 %."""
    answer_rate: Proportion
    rest: Proportion | None
    """Accuracy on all other questions; None where there are none."""
    p_value: Probability | None
    """Fisher's exact test of the slice against the rest, two-sided; None where it has no rest or
    too few questions."""
    p_holm: Probability | None
    """The same after Holm's correction over the slices of its dimension that were tested; two
    slices are one test, and need none."""
    weak: bool
    """Below the rest, with p_holm < 0.05."""


class ClusteredSpread(Record):
    """How uncertain one accuracy is, with and without regard to questions that belong together."""

    standard_error: float = Field(ge=0)
    """sqrt(p (1 - p) / n)."""
    clustered: float | None = Field(default=None, ge=0)
    """Clustered by `by` (Miller 2024, arXiv 2411.00640, section 2.2); None where no two questions
    share a cluster, or all do."""
    by: Literal["group", "topic", "subject"] | None = None
    clusters: int | None = None


class ReliabilityBin(Record):
    """Questions of like confidence."""

    confidence: Probability
    """Their mean confidence."""
    accuracy: Proportion
    """How often the model was right on them."""


class CalibrationError(Record):
    """How far probabilities are from what comes true, and what chance does to that."""

    error: Probability
    """Root of the mean squared distance between confidence and accuracy over equal-mass bins,
    debiased: 0 is perfect."""
    error_low: float | None = None
    """95 %, bootstrap over questions; None in records of before it was measured, as below."""
    error_high: float | None = None
    perfect: float | None = None
    """Mean error of a perfectly calibrated model with these confidences, on so many questions."""
    perfect_high: float | None = None
    """Its 95 % point: only an error above it shows that the model is not calibrated."""

    @property
    def shown(self) -> bool | None:
        """Whether the model is shown not to be calibrated; None where that was not tested."""
        return None if self.perfect_high is None else self.error > self.perfect_high


class CalibrationReport(CalibrationError):
    """Whether the model's probabilities mean what they say."""

    brier: float = Field(ge=0, le=2)
    """Over all options; 0 is perfect."""
    log_loss: float = Field(ge=0)
    """Nats."""
    bins: tuple[ReliabilityBin, ...]
    letters: dict[str, CalibrationError] = Field(default_factory=dict)
    """Letter by letter, chosen or not (classwise)."""


class Threshold(Record):
    """A confidence from which on to answer."""

    confidence: float
    target: Probability
    """Risk that is not to be exceeded."""
    bound: Probability
    """Upper 95 % bound of the risk on the calibration questions at this confidence."""
    coverage: Proportion
    """CalibrationReport questions that it answers."""


class SearchPower(Record):
    """What it takes for the search of a threshold to find one."""

    least: int = Field(gt=0)
    """CalibrationReport questions with fewer of which none can be found, even without an error."""
    first: int | None = None
    """Surest calibration questions with which the search begins: more than `least` where
    confidences are equal; None where there are too few, and none could have been found."""
    allowed: int = Field(default=0, ge=0)
    """Errors among these with which the search still goes on."""
    accuracy: Probability | None = None
    """Accuracy among these with which it goes on in 80 % of calibration splits."""


class ThresholdFinding(Record):
    """What a target risk costs, promised on the calibration questions and kept or not here."""

    target: Probability
    found: Threshold | None
    """None where even the surest calibration questions were too risky."""
    answered: Proportion | None = None
    """Of the evaluated questions."""
    risk: Proportion | None = None
    """Wrong among the answered; None where none was."""
    power: SearchPower | None = None
    """None in records of before it was computed."""

    @property
    def missing(self) -> str:
        """Say why there is no threshold."""
        power = self.power
        if power is None:
            return "no threshold: even the surest calibration questions were too risky"
        if power.first is None or power.accuracy is None:
            return (
                f"no threshold, and none could have been found: that takes {power.least:,} "
                "calibration questions at least"
            )
        return (
            f"no threshold: more than {power.allowed:,} of the {power.first:,} surest calibration "
            f"questions were wrong; one is found in 80 % of cases by a model that is right on "
            f"{100 * power.accuracy:.1f} % of these"
        )


class RiskCurve(Record):
    """What answering only the surest questions would cost."""

    coverage: tuple[float, ...]
    """Share of questions answered, ascending."""
    risk: tuple[float, ...]
    """Share of these that are wrong."""
    area: Probability
    """Mean risk over all coverages (AURC); lower is better."""
    best: Probability
    """AURC of the same answers in the best order, wrong ones last."""


class SetFinding(Record):
    """Prediction sets: what was promised, and what came of it."""

    score: Literal["lac", "aps"]
    level: Probability
    """Promised coverage."""
    coverage: Proportion
    """Sets that hold the right option, on the evaluated questions."""
    size: float
    """Mean number of options in a set."""
    subjects: dict[str, tuple[Proportion, float]]
    """Coverage and mean size by subject: the promise holds over all, not in each."""


class SelectivePrediction(Record):
    """Answering only when sure."""

    curve: RiskCurve
    temperature: float | None = None
    """Fitted on the calibration questions; None without them, as are the fields below."""
    calibrated_on: str | None = None
    calibrated_n: int | None = None
    after: CalibrationReport | None = None
    """CalibrationReport here at that temperature."""
    served: CalibrationError | None = None
    """Of a release: of its answers to the options as given, at the temperature it is served with;
    None where it has none."""
    thresholds: tuple[ThresholdFinding, ...] = ()
    sets: tuple[SetFinding, ...] = ()


class Flips(Record):
    """What the order of the options does to the answers; contents are compared, not letters."""

    orders: int
    """Orders in which each question was asked (the largest number over the questions)."""
    any: Proportion
    """Questions whose chosen content is not the same in all orders."""
    pairs: Probability
    """Mean over questions of the share of pairs of orders whose contents differ."""
    accuracy: tuple[Proportion, ...]
    """By rotation: accuracy with the options shifted by 0, 1, ... places."""
    letters: dict[str, int]
    """How often each letter was chosen, over all questions and orders."""
    recalls: dict[str, Proportion]
    """How often the right letter was chosen where this letter was right, over all orders."""
    rstd: float | None
    """Standard deviation of the recalls (Zheng et al. 2023, arXiv 2309.03882), between 0 and 0.5;
    0 is no preference among letters; None with one recall. Where questions differ in their number
    of options it is the mean over these numbers, weighted by questions."""


class FailureExample(Record):
    """One failure to look at."""

    prediction: Prediction
    note: str
    """Why it was counted here."""


class Failure(Record):
    """One kind of failure, how often it happened, and some of it; kinds may overlap."""

    name: FailureKind
    explanation: str
    """What counts as this, and what to hold the share against."""
    share: Proportion
    """Of all failures (wrong and unparsed)."""
    examples: tuple[FailureExample, ...]


class AnalysisRecord(Record):
    """What one evaluation shows beyond its accuracy."""

    kind: Literal["analysis"] = "analysis"
    folder: str
    """Where the evaluation lies."""
    evaluation: EvaluationRecord
    accuracy_answered: Proportion | None
    """Correct among the answered; None where nothing was answered."""
    spread: ClusteredSpread
    slices: tuple[Slice, ...]
    weak_subjects: tuple[str, ...]
    """Weak after Holm's correction; `data.sampling.balance.weak_from` can draw more of them."""
    calibration: CalibrationReport | None
    """None for free text, as is `selective`."""
    selective: SelectivePrediction | None
    flips: Flips | None
    """None where the options were shown in one order only."""
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    """What a reader must know before believing a number."""
    provenance: Provenance


class PairedSlice(Record):
    """The questions that share one property, answered by two models."""

    dimension: Dimension
    name: str
    accuracy_a: Proportion
    """Of the reference on the slice's n questions, Wilson 95 %."""
    accuracy_b: Proportion
    """Of the candidate on the same ones."""
    only_a: int = Field(ge=0)
    """Questions that only the reference has right."""
    only_b: int = Field(ge=0)
    difference: float = Field(ge=-1, le=1)
    """accuracy b - accuracy a."""
    difference_low: float = Field(ge=-1, le=1)
    """Tango's score interval, 95 %, not corrected for the number of slices."""
    difference_high: float = Field(ge=-1, le=1)
    p_value: Probability | None
    """Exact McNemar, two-sided; None where the slice has too few questions."""
    p_holm: Probability | None
    """The same after Holm's correction over the slices of its dimension that were tested."""


class PairedSlices(Record):
    """All slices of a comparison."""

    kind: Literal["slices"] = "slices"
    slices: tuple[PairedSlice, ...]


class Agreement(Record):
    """How far two reviewers agree beyond chance, over the letters, none and unsure."""

    a: str
    b: str
    n: int = Field(ge=0)
    """Items that both marked."""
    observed: Proportion | None
    """Marked alike, Wilson; None without common items."""
    expected: Probability | None
    """Agreement by chance, from how often each uses each category."""
    kappa: float | None = Field(ge=-1, le=1)
    """Cohen's kappa, unweighted; None where it is not defined, for the reason given."""
    low: float | None = None
    high: float | None = None
    reason: str | None = None
