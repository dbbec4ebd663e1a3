"""Records of the learning curve: accuracy by size, selection and target of training questions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medtune.core.experiment import Experiment, RetrievalKind
from medtune.core.prompt import TrainingTarget
from medtune.core.records import (
    EvaluationRecord,
    ModelDescription,
    Probability,
    Provenance,
    Record,
    SplitDescription,
)

Selection = Literal["random", "balanced", "curated"]
Equal = Literal["epochs", "steps"]

SIZES = (125, 250, 500, 1000, 2000)
SELECTIONS: tuple[Selection, ...] = ("random", "balanced", "curated")
EQUAL_SHARES_TEMPERATURE = 1e6
"""Sampling temperature at which every subject gets the same share."""


class Arm(Record):
    """One way to choose and use training questions."""

    size: int = Field(gt=0)
    selection: Selection = "random"
    target: TrainingTarget = "text"
    equal: Equal = "epochs"
    """epochs: every question is seen as often as in the others; steps: as many optimizer steps as
    the largest size takes."""
    retrieval: RetrievalKind = "none"
    """Whether prompts show passages, in training and in evaluation; none is the closed book."""

    @property
    def name(self) -> str:
        """Name of its cells."""
        name = f"{self.target}-{self.selection}-{self.size}-{self.equal}"
        return name_in_book(name, self.retrieval)

    @property
    def book(self) -> str:
        """Readable name of its kind of retrieval."""
        return "closed book" if self.retrieval == "none" else f"{self.retrieval} passages"

    @property
    def setting(self) -> str:
        """Readable name without size and selection."""
        return f"{self.book}, {self.target}, equal {self.equal}"

    @property
    def display_name(self) -> str:
        """Readable name."""
        return f"{self.size:,} {self.selection}, {self.setting}"

    def to_experiment(self, base: Experiment, seed: int, steps: int) -> Experiment:
        """Return the experiment of this arm.

        Args:
            base: The study's experiment, for all settings that the arm does not vary.
            seed: Seed of the sampling and of the training.
            steps: Optimizer steps of the largest size.
        """
        data = base.data.model_dump(exclude_unset=True)
        data["train_size"] = self.size
        if self.selection == "balanced":
            data["balance"] = {"by": "subject", "temperature": EQUAL_SHARES_TEMPERATURE}
        elif self.selection == "curated":
            data["curation"] = {"quality": {"on": True}, "diversity": {"on": True}}
        training = base.training.model_dump(exclude_unset=True) | {"target": self.target}
        if self.equal == "steps":
            training["steps"] = steps
        changes = {"data": data, "training": training, "seed": seed, "seeds": ()}
        return change_book(base, self.retrieval, **changes)


def name_in_book(name: str, retrieval: RetrievalKind) -> str:
    """Return the name of a cell: one of a closed book is called as if there were no other."""
    return name if retrieval == "none" else f"{retrieval}-{name}"


def change_book(base: Experiment, retrieval: RetrievalKind, **changes: Any) -> Experiment:
    """Return an experiment with another kind of retrieval, evaluated by its primary method.

    Args:
        base: The experiment; a closed book has none of its settings of retrieval.
        retrieval: The kind.
        changes: Other sections and settings to replace.
    """
    whole = base.model_dump(exclude_unset=True)
    settings = whole.pop("retrieval", {})
    if retrieval != "none":
        if retrieval == "per-option":
            settings.pop("query", None)
        # Methods beside the primary one, which are not asked, may not go with passages.
        methods = {"methods": base.evaluation.methods[:1]}
        changes["retrieval"] = settings | {"kind": retrieval}
        changes["evaluation"] = whole.get("evaluation", {}) | methods
    return Experiment.model_validate({**whole, **changes})


class CurvePoint(Record):
    """Results of one arm over all seeds."""

    arm: Arm
    seeds: tuple[int, ...] = Field(min_length=1)
    steps: int
    accuracies: tuple[Probability, ...]
    """By seed."""
    accuracy: Probability
    """Mean over seeds."""
    low: Probability
    """95 %, over questions: each question's mean over the seeds is one observation."""
    high: Probability
    deviation: float | None
    """Standard deviation over seeds (n - 1); None for a single seed."""
    gain: float
    """Gain over the base model on the same questions, with the same kind of retrieval."""
    gain_low: float
    gain_high: float


class Contrast(Record):
    """Comparison of two arms on the same questions."""

    few: Arm
    many: Arm
    n: int = Field(gt=0)
    """Questions."""
    seeds_few: int
    seeds_many: int
    difference: float
    """Accuracy of many minus few."""
    low: float
    """95 %, paired by question."""
    high: float
    test: Literal["exact McNemar", "paired z"]
    """Exact McNemar for one training each; else z of the differences of each question's mean over
    the seeds, for these trainings: other seeds may differ more."""
    p_value: Probability
    p_holm: Probability
    """p-value after Holm's correction over all contrasts of the study."""


class Estimate(Record):
    """A fitted number with its 95 % interval."""

    value: float
    low: float
    high: float


class PowerLaw(Record):
    """accuracy(n) = ceiling - rest * (n / largest size) ** -exponent."""

    sizes: tuple[int, ...]
    ceiling: Estimate
    """Accuracy with endless questions, 0 to 1."""
    rest: Estimate
    """Ceiling minus the accuracy at the largest size; negative for a falling curve."""
    exponent: Estimate
    doubling: Estimate
    """What twice the largest size adds to the accuracy."""
    misfit_p: Probability
    """p-value of the deviations from the law (chi-squared); small where it does not fit."""

    def predict(self, size: float) -> float:
        """Return the accuracy of the law at a size."""
        relative = size / max(self.sizes)
        return float(self.ceiling.value - self.rest.value * relative**-self.exponent.value)

    @property
    def is_told(self) -> bool:
        """Whether the interval of `rest` excludes 0, and so that of `doubling`."""
        return self.rest.low > 0 or self.rest.high < 0


class LearningCurve(Record):
    """Accuracy by size for one way to choose and use questions."""

    arm: Arm
    """Its largest arm."""
    law: PowerLaw | None
    """None for fewer than four sizes."""
    seed_deviation: float | None
    """Standard deviation between seeds, pooled over the sizes that have two or more; None where
    none has, and the intervals then lack it."""
    verdict: str
    """What the next doubling buys, in one sentence."""


class LearningCurveRecord(Record):
    """Record of the learning curves of a study."""

    kind: Literal["learning-curve"] = "learning-curve"
    name: str
    model: ModelDescription
    pool: SplitDescription
    """Pool from which all arms are sampled."""
    bases: dict[RetrievalKind, EvaluationRecord]
    """The base model by kind of retrieval, as the arms are asked."""
    points: tuple[CurvePoint, ...]
    contrasts: tuple[Contrast, ...]
    """Many random questions against few selected ones, at equal steps and at equal epochs."""
    curves: tuple[LearningCurve, ...]
    verdict: str
    cell_s: float
    provenance: Provenance

    @property
    def base(self) -> EvaluationRecord:
        """Return the base model's evaluation: by closed book, if there is one."""
        return next(iter(self.bases.values()))
