"""Base class of models that can be trained; subclasses choose the trainable weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import Parameter

from medtune.core.protocols import Example, Message
from medtune.core.records import ModelDescription
from medtune.core.run_folder import write_text
from medtune.core.token_trie import ScoredSequence
from medtune.models.adapters.readme import README, render_readme
from medtune.models.local.local_model import LocalModel
from medtune.models.local.selected_logits import AnswerHead, can_pack
from medtune.models.save import save_with_card
from medtune.models.sources import find_hub_name
from medtune.models.weights_card import WeightsCard


class TrainableModel(ABC):
    """A base model with trainable weights in it.

    Args:
        model: The base; its network is changed in place.
        recompute: Use activation checkpointing: recompute activations in the backward pass.

    Attributes:
        base: Description of the base weights.
        head: Forward pass; see `AnswerHead`.
        packs: Whether `head` computes packed batches.
        pad: Id of the pad token.
        end: Id of the end-of-turn token.
    """

    kind: ClassVar[Literal["adapter", "model"]]
    """Kind of weights that are saved."""

    def __init__(self, model: LocalModel, recompute: bool) -> None:
        self.base: ModelDescription = model.describe()
        self._source, self._batch = model.source, model.batch
        self._encoder = model.encoder
        self._inner = model.network
        self._holder = self._prepare_network(model.network)
        if recompute:
            self._inner.activation_checkpointing_enable({"use_reentrant": False})
        self.packs = can_pack(self._inner)
        self.head: nn.Module = AnswerHead(self._inner, self.packs)
        self.pad = self._encoder.pad
        self.end = self._encoder.end

    @abstractmethod
    def _prepare_network(self, network: Any) -> nn.Module:
        """Make weights trainable; return the module whose parameter names are saved."""

    @abstractmethod
    def _write_weights(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the weights and their files, but not the card."""

    @abstractmethod
    def interpolate_with_base(
        self, weights: Mapping[str, Tensor], share: float
    ) -> Mapping[str, Tensor]:
        """Interpolate between base and trained weights: `share` 1 is the trained weights."""

    def inference_view(self) -> LocalModel:
        """Return an inference view of the current weights, with its own prefix cache."""
        return LocalModel(self._inner, self._encoder.tokenizer, self._source, batch=self._batch)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Trainable parameters by the names under which they are saved."""
        return {name: p for name, p in self._holder.named_parameters() if p.requires_grad}

    @property
    def total_parameters(self) -> int:
        """Number of all weights, including the base model's."""
        return int(self._inner.num_parameters())

    def render(self, messages: Sequence[Message]) -> str:
        """Render a prompt exactly as the model reads it."""
        return self._encoder.render(messages)

    def encode(self, messages: Sequence[Message], answer: str) -> Example:
        """Encode a supervised example; see `ChatEncoder.encode_example`."""
        return self._encoder.encode_example(messages, answer)

    def encode_options(
        self, prompts: Sequence[Sequence[Message]], lead: str, texts: Sequence[str]
    ) -> tuple[ScoredSequence, ...]:
        """Encode the options of a question; see `ChatEncoder.encode_options`."""
        return self._encoder.encode_options(prompts, lead, texts)

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode tokens to text, including special tokens."""
        return str(self._encoder.tokenizer.decode(list(tokens)))

    def save(
        self,
        weights: Mapping[str, Tensor],
        folder: Path,
        card: Mapping[str, Any],
        hashes: Sequence[str] | None = None,
    ) -> WeightsCard:
        """Save weights and card to a folder atomically, replacing an older one.

        Args:
            weights: Full-precision weights by parameter name.
            folder: Folder to write.
            card: Fields of the card except kind and hash.
            hashes: See `save_with_card`.

        Raises:
            FolderError: The folder cannot be written.
        """
        unhashed = WeightsCard(**card, kind=self.kind, weights_hash="")

        def write(place: Path) -> None:
            self._write_weights(weights, place)
            hub = find_hub_name(unhashed.base, unhashed.base_fingerprint)
            write_text(place / README, render_readme(unhashed, hub[0] if hub else None))

        return save_with_card(folder, unhashed, write, hashes)
