"""What is trained on what, how far it is, and what came of it."""

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
    """What is trained, on what."""

    head: nn.Module
    """(tokens, wanted, lengths, prefix) -> logits `[wanted, vocabulary]`; see `Batch`."""
    packs: bool
    """Whether `head` computes a batch end to end; else it pads."""
    parameters: Callable[[], Mapping[str, Parameter]]
    """The trainable ones, by name; they are others once the head is shared out."""
    questions: Sequence[Question]
    encode: Callable[[Question], Example]
    decode: Callable[[Sequence[int]], str]
    pad: int
    end: int
    settings: TrainingConfig
    validate: Callable[[], Proportion] | None
    """Examines the model as it is on questions set apart."""
    seed: int
    folder: Path
    """Where checkpoints go."""
    inputs: str
    """Hash of all of the above; a checkpoint of other inputs is not resumed."""
    name: str
    """Under which trackers know it."""
    track: tuple[TrackerName, ...]


@dataclass(slots=True)
class TrainingProgress:
    """What was done so far; part of a checkpoint."""

    step: int = 0
    tokens: int = 0
    positions: int = 0
    examples: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)
    """(loss, learning rate) per step."""
    seconds: float = 0.0
    """Of earlier attempts too, up to the checkpoint that was gone on from."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of a job."""

    weights: dict[str, Tensor]
    """What is to be saved, fp32, by parameter name."""
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
    """Of all attempts together."""
    fresh_s: float
    """Of this process."""
    fresh_examples: int
    """Examples of this process; with `fresh_s` they give the speed."""
    fresh_tokens: int
