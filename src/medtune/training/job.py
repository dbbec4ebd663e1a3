"""Describe a training job, its progress and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn
from torch.nn import Parameter

from medtune.core.experiment import TrackerName, TrainingConfig
from medtune.core.protocols import Example
from medtune.core.records import LossPoint, MaskAudit, Proportion, Question, ValidationPoint


@dataclass(frozen=True, slots=True)
class Job:
    """A training job: model, questions and settings."""

    head: nn.Module
    """(tokens, wanted, lengths, prefix) -> logits `[wanted, vocabulary]`; see `Batch`."""
    packs: bool
    """Whether `head` computes packed batches; otherwise it pads."""
    parameters: Callable[[], Mapping[str, Parameter]]
    """Return the trainable parameters by name; sharding replaces them."""
    questions: Sequence[Question]
    encode: Callable[[Question], Example]
    decode: Callable[[Sequence[int]], str]
    pad: int
    end: int
    settings: TrainingConfig
    validate: Callable[[], Proportion] | None
    """Evaluates the current model on held-out questions."""
    seed: int
    folder: Path
    """Folder of checkpoints."""
    inputs: str
    """Hash of what determines the weights; a checkpoint of other inputs is not resumed."""
    name: str
    """Run name in trackers."""
    track: tuple[TrackerName, ...]


@dataclass(slots=True)
class TrainingProgress:
    """Progress of a training, stored in checkpoints."""

    step: int = 0
    tokens: int = 0
    positions: int = 0
    examples: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)
    """(loss, learning rate) per step."""
    seconds: float = 0.0
    """Duration, including earlier attempts up to the resumed checkpoint."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Result of a training job."""

    weights: dict[str, Tensor]
    """Weights to save, fp32, by parameter name."""
    kept_step: int | None
    validations: tuple[ValidationPoint, ...]
    audit: MaskAudit
    losses: tuple[LossPoint, ...]
    steps: int
    examples: int
    tokens: int
    positions: int
    resumed_from: int | None
    duration_s: float
    """Duration of all attempts together."""
    fresh_s: float
    """Duration of this attempt."""
    fresh_examples: int
    """Examples of this attempt; with `fresh_s` they give the speed."""
    fresh_tokens: int
