"""Records of the learning curve: accuracy by size, selection and target of training questions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.experiment import Experiment
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

    @property
    def name(self) -> str:
        """Name of its cells."""
        return f"{self.target}-{self.selection}-{self.size}-{self.equal}"

    @property
    def display_name(self) -> str:
        """Readable name."""
        return f"{self.size:,} {self.selection}, {self.target}, equal {self.equal}"

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
        whole = base.model_dump(exclude_unset=True)
        return Experiment.model_validate(
            {**whole, "data": data, "training": training, "seed": seed, "seeds": ()}
        )


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
    """Gain over the base model on the same questions."""
    gain_low: float
    gain_high: float


class Contrast(Record):
    """Comparison of two arms on the same questions."""

    few: Arm
    many: Arm
    difference: float
    """Accuracy of many minus few."""
    low: float
    """95 %, paired by question."""
    high: float


class LearningCurveRecord(Record):
    """Record of a learning curve."""

    kind: Literal["learning-curve"] = "learning-curve"
    name: str
    model: ModelDescription
    pool: SplitDescription
    """Pool from which all arms are sampled."""
    base: EvaluationRecord
    points: tuple[CurvePoint, ...]
    contrasts: tuple[Contrast, ...]
    """Many random questions against few selected ones, at equal steps and at equal epochs."""
    verdict: str
    cell_s: float
    provenance: Provenance
