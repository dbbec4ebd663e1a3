"""Describe what is trained, its validation, its progress and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn
from torch.nn import Parameter

from medtune.core.protocols import Example, Message
from medtune.core.records import (
    MaskAudit,
    ModelDescription,
    Proportion,
    SplitDescription,
    ValidationPoint,
)
from medtune.core.token_trie import ScoredSequence


class SavedWeights(Protocol):
    """Result of saving weights."""

    @property
    def weights_hash(self) -> str: ...  # noqa: D102


class Trainable(Protocol):
    """A base model with trainable weights in it."""

    base: ModelDescription
    """Description of the base weights."""
    head: nn.Module
    """(tokens, wanted, lengths, prefix, ends) -> logits `[wanted, vocabulary]`; see `Batch`."""
    packs: bool
    """Whether `head` computes packed batches; otherwise it pads."""
    pad: int
    end: int

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Return the trainable parameters by name; sharding replaces them."""
        ...

    @property
    def total_parameters(self) -> int: ...  # noqa: D102

    def render(self, messages: Sequence[Message]) -> str: ...  # noqa: D102

    def encode(self, messages: Sequence[Message], answer: str) -> Example: ...  # noqa: D102

    def encode_options(  # noqa: D102
        self, prompts: Sequence[Sequence[Message]], lead: str, texts: Sequence[str]
    ) -> tuple[ScoredSequence, ...]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...  # noqa: D102

    def save(  # noqa: D102
        self,
        weights: Mapping[str, Tensor],
        folder: Path,
        card: Mapping[str, object],
        hashes: Sequence[str] | None = None,
    ) -> SavedWeights: ...

    def interpolate_with_base(  # noqa: D102
        self, weights: Mapping[str, Tensor], share: float
    ) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True, slots=True)
class Validation:
    """An evaluation on held-out questions during training."""

    data: SplitDescription
    examine: Callable[[], Proportion]
    """Evaluates the current model."""


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
    """Result of a training."""

    weights: dict[str, Tensor]
    """Weights to save, fp32, by parameter name."""
    kept_step: int | None
    validations: tuple[ValidationPoint, ...]
    audit: MaskAudit
    progress: TrainingProgress
    """Progress of all attempts together."""
    resumed: TrainingProgress | None
    """Progress of the checkpoint from which this attempt resumed."""
    fresh_s: float
    """Duration of this attempt."""
