"""Records of the analysis of an evaluation."""

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
    """Accuracy on the questions that share one property, and on all others."""

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
    """Standard error of an accuracy, plain and clustered."""

    standard_error: float = Field(ge=0)
    """sqrt(p (1 - p) / n)."""
    clustered: float | None = Field(default=None, ge=0)
    """Clustered by `by` (Miller 2024, arXiv 2411.00640, section 2.2); None where no two questions
    share a cluster, or all do."""
    by: Literal["group", "topic", "subject"] | None = None
    clusters: int | None = None


class ReliabilityBin(Record):
    """One bin of a reliability diagram: questions of similar confidence."""

    confidence: Probability
    accuracy: Proportion


class CalibrationError(Record):
    """Calibration error, with the error that chance alone would give."""

    error: Probability
    """Root of the mean squared distance between confidence and accuracy over equal-mass bins,
    debiased: 0 is perfect."""
    error_low: float | None = None
    """95 %, bootstrap over questions; None in old records, as are the fields below."""
    error_high: float | None = None
    perfect: float | None = None
    """Mean error of a perfectly calibrated model with these confidences, on so many questions."""
    perfect_high: float | None = None
    """95th percentile of that error: only an error above it shows miscalibration."""

    @property
    def shows_miscalibration(self) -> bool | None:
        """Whether the model is significantly miscalibrated; None where that was not tested."""
        return None if self.perfect_high is None else self.error > self.perfect_high


class CalibrationReport(CalibrationError):
    """Calibration of a model: error, scores and reliability diagram."""

    brier: float = Field(ge=0, le=2)
    """Over all options; 0 is perfect."""
    log_loss: float = Field(ge=0)
    """Nats."""
    bins: tuple[ReliabilityBin, ...]
    letters: dict[str, CalibrationError] = Field(default_factory=dict)
    """Letter by letter, chosen or not (classwise)."""


class Threshold(Record):
    """A confidence threshold for answering."""

    confidence: float
    target: Probability
    bound: Probability
    """Upper 95 % bound of the risk on the calibration questions at this confidence."""
    coverage: Proportion
    """Calibration questions that it answers."""


class SearchPower(Record):
    """Power of the threshold search."""

    least: int = Field(gt=0)
    """Smallest number of calibration questions that can give a threshold, without any error."""
    first: int | None = None
    """Number of most confident calibration questions with which the search begins: more than
    `least` where confidences are equal; None where there are too few for any threshold."""
    allowed: int = Field(default=0, ge=0)
    """Largest number of errors among these with which the search continues."""
    accuracy: Probability | None = None
    """Accuracy among these with which it continues in 80 % of calibration splits."""


class ThresholdFinding(Record):
    """Threshold for a target risk, with its coverage and risk on the evaluated questions."""

    target: Probability
    found: Threshold | None
    """None where even the most confident calibration questions were too risky."""
    answered: Proportion | None = None
    """Share of the evaluated questions that are answered."""
    risk: Proportion | None = None
    """Wrong among the answered; None where none was."""
    power: SearchPower | None = None
    """None in old records."""

    @property
    def missing_reason(self) -> str:
        """Sentence that says why there is no threshold."""
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
    """Risk-coverage curve: error rate when only the most confident questions are answered."""

    coverage: tuple[float, ...]
    """Share of questions answered, ascending."""
    risk: tuple[float, ...]
    """Share of the answered questions that are wrong."""
    area: Probability
    """Mean risk over all coverages (AURC); lower is better."""
    best: Probability
    """AURC of the same answers in the best possible order, wrong ones last."""


class SetFinding(Record):
    """Prediction sets: promised and observed coverage."""

    score: Literal["lac", "aps"]
    level: Probability
    """Promised coverage."""
    coverage: Proportion
    """Sets that hold the right option, on the evaluated questions."""
    size: float
    """Mean number of options in a set."""
    subjects: dict[str, tuple[Proportion, float]]
    """Coverage and mean size by subject; the guarantee holds on average, not per subject."""


class SelectivePrediction(Record):
    """Results of selective prediction (abstaining below a confidence)."""

    curve: RiskCurve
    temperature: float | None = None
    """Fitted on the calibration questions; None without them, as are the fields below."""
    calibrated_on: str | None = None
    calibrated_n: int | None = None
    after: CalibrationReport | None = None
    """Calibration of the evaluated questions at that temperature."""
    served: CalibrationError | None = None
    """Calibration error of a release's answers to the options as given, at the temperature with
    which it is served; None where there is no such temperature."""
    thresholds: tuple[ThresholdFinding, ...] = ()
    sets: tuple[SetFinding, ...] = ()


class Flips(Record):
    """Effect of the order of the options on the answers; contents are compared, not letters."""

    orders: int
    """Orders in which each question was asked (the largest number over the questions)."""
    any: Proportion
    """Questions whose chosen content is not the same in all orders."""
    pairs: Probability
    """Mean over questions of the share of pairs of orders whose contents differ."""
    accuracy: tuple[Proportion, ...]
    """Accuracy by rotation: with the options shifted by 0, 1, ... positions."""
    letters: dict[str, int]
    """How often each letter was chosen, over all questions and orders."""
    recalls: dict[str, Proportion]
    """How often the right letter was chosen where this letter was right, over all orders."""
    rstd: float | None
    """Standard deviation of the recalls (Zheng et al. 2023, arXiv 2309.03882), between 0 and 0.5;
    0 is no preference among letters; None with one recall. Where questions differ in their number
    of options it is the mean over these numbers, weighted by questions."""


class SimilarityBin(Record):
    """Accuracy on questions of similar nearness to a passage."""

    low: Probability
    """Smallest similarity among them."""
    high: Probability
    mean: Probability
    accuracy: Proportion


class SimilarityReport(Record):
    """Accuracy by similarity to the nearest passage of an index."""

    bins: tuple[SimilarityBin, ...]
    """About as many questions in each, the least similar first."""
    less_similar: Proportion | None
    """Accuracy without the tenth of the questions that are most similar to a passage; None where
    no question is left."""


class FailureExample(Record):
    """Example of a failure."""

    prediction: Prediction
    note: str


class Failure(Record):
    """One kind of failure, its frequency and examples; kinds may overlap."""

    name: FailureKind
    explanation: str
    """Definition of the kind, and the baseline of its share."""
    share: Proportion
    """Share of all failures (wrong and unparsed)."""
    examples: tuple[FailureExample, ...]


class AnalysisRecord(Record):
    """Analysis of one evaluation."""

    kind: Literal["analysis"] = "analysis"
    folder: str
    evaluation: EvaluationRecord
    accuracy_answered: Proportion | None
    """Correct among the answered; None where nothing was answered."""
    spread: ClusteredSpread
    slices: tuple[Slice, ...]
    weak_subjects: tuple[str, ...]
    """Weak after Holm's correction; `data.balance.weak_from` can oversample them."""
    calibration: CalibrationReport | None
    """None for free text, as is `selective`."""
    selective: SelectivePrediction | None
    flips: Flips | None
    """None where the options were shown in one order only."""
    similarity: SimilarityReport | None = None
    """None for evaluations without an index of passages."""
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    provenance: Provenance


class PairedSlice(Record):
    """Paired comparison of two models on the questions that share one property."""

    dimension: Dimension
    name: str
    accuracy_a: Proportion
    """Accuracy of the reference on the slice's n questions, Wilson 95 %."""
    accuracy_b: Proportion
    """Accuracy of the candidate on the same questions."""
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
    """All slices of a paired comparison."""

    kind: Literal["slices"] = "slices"
    slices: tuple[PairedSlice, ...]


class Agreement(Record):
    """Agreement of two reviewers beyond chance, over the categories letters, none and unsure."""

    a: str
    b: str
    n: int = Field(ge=0)
    """Items that both marked."""
    observed: Proportion | None
    """Share of common items with equal marks, Wilson 95 %; None without common items."""
    expected: Probability | None
    """Agreement by chance, from how often each uses each category."""
    kappa: float | None = Field(ge=-1, le=1)
    """Cohen's kappa, unweighted; None where it is not defined, for the reason given."""
    low: float | None = None
    high: float | None = None
    reason: str | None = None
