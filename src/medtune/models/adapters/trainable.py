"""A base model about to learn; what learns in it is its subclasses' affair."""

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
from medtune.models.adapters.readme import README, readme
from medtune.models.local.local_model import LocalModel
from medtune.models.local.selected_logits import AnswerHead, can_pack
from medtune.models.save import save_with_card
from medtune.models.sources import hub_name
from medtune.models.weights_card import WeightsCard


class Trainee(ABC):
    """A base model with trainable weights in it.

    Args:
        model: The base; its network is changed in place.
        recompute: Keep no activations inside layers, but compute them again on the way back.

    Attributes:
        base: Which weights it started from.
        head: Its forward pass; see `AnswerHead`.
        packs: Whether that computes a batch end to end.
        pad: Token that fills up rows.
        end: Token that ends a turn.
    """

    kind: ClassVar[Literal["adapter", "model"]]
    """What is saved."""

    def __init__(self, model: LocalModel, recompute: bool) -> None:
        self.base: ModelDescription = model.describe()
        self._source, self._batch = model.source, model.batch
        self._encoder = model.encoder
        self._inner = model.network
        self._holder = self._prepared(model.network)
        if recompute:
            self._inner.activation_checkpointing_enable({"use_reentrant": False})
        self.packs = can_pack(self._inner)
        self.head: nn.Module = AnswerHead(self._inner, self.packs)
        self.pad = self._encoder.pad
        self.end = self._encoder.end

    @abstractmethod
    def _prepared(self, network: Any) -> nn.Module:
        """Make weights trainable; return the module that names them as they are saved."""

    @abstractmethod
    def _write(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write everything but the card."""

    @abstractmethod
    def toward_base(self, weights: Mapping[str, Tensor], share: float) -> Mapping[str, Tensor]:
        """Keep a share of what was learned, by parameter name."""

    def model(self) -> LocalModel:
        """Open the model as it is now for an examination; what it reads once it keeps."""
        return LocalModel(self._inner, self._encoder.tokenizer, self._source, batch=self._batch)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The trainable ones, by the names under which they are saved."""
        return {name: p for name, p in self._holder.named_parameters() if p.requires_grad}

    @property
    def total_parameters(self) -> int:
        """All weights, the base model's included."""
        return int(self._inner.num_parameters())

    def render(self, messages: Sequence[Message]) -> str:
        """Show the exact text that the model reads."""
        return self._encoder.render(messages)

    def encode(
        self, messages: Sequence[Message], answer: str, choices: Sequence[str] = ()
    ) -> Example:
        """Encode a supervised example; see `ChatEncoder.example`."""
        return self._encoder.example(messages, answer, choices)

    def decode(self, tokens: Sequence[int]) -> str:
        """Show tokens as text, special ones included."""
        return str(self._encoder.tokenizer.decode(list(tokens)))

    def save(
        self,
        weights: Mapping[str, Tensor],
        folder: Path,
        card: Mapping[str, Any],
        hashes: Sequence[str] | None = None,
    ) -> WeightsCard:
        """Write a folder whole or not at all, replacing an older one.

        Args:
            weights: Full-precision weights by parameter name.
            folder: Where to.
            card: Fields of the card but for kind and hash.
            hashes: As of `save_with_card`.

        Raises:
            FolderError: The folder cannot be written.
        """
        unhashed = WeightsCard(**card, kind=self.kind, weights_hash="")

        def write(place: Path) -> None:
            self._write(weights, place)
            hub = hub_name(unhashed.base, unhashed.base_fingerprint)
            write_text(place / README, readme(unhashed, hub[0] if hub else None))

        return save_with_card(folder, unhashed, write, hashes)
