"""Records of a mixture of answer models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    Provenance,
    Record,
    SplitDescription,
)


class MixtureParent(Record):
    """One of the models of a mixture, and how it is asked."""

    name: str | None
    """Name to open it by; None where the folder of its adapter is not known."""
    label: str
    weight: float = Field(ge=0)
    """Factor of its log-probabilities."""
    log_loss: float
    """Of the model alone on the calibration questions, nats."""
    evaluation: EvaluationRecord
    """Its evaluation on the calibration questions: weights, prompt and method."""


class MixtureRecord(Record):
    """Record of a mixture: `mix.json`, which the model `mix:DIR` is opened from."""

    kind: Literal["mixture"] = "mixture"
    parents: tuple[MixtureParent, ...] = Field(min_length=2)
    calibration: SplitDescription
    """Questions that the weights were fitted on; never reported on."""
    n: int = Field(gt=0)
    """Number of these questions."""
    log_loss: float
    """Of the mixture on these questions, after the fit, nats."""
    evaluation: EvaluationRecord | None = None
    """The mixture on the reported questions, computed from its parents' predictions."""
    comparisons: tuple[ComparisonRecord, ...] = ()
    """Each parent with the mixture on the reported questions, paired."""
    provenance: Provenance
