"""Full fine-tuning: every weight learns, and a whole model comes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medtune.models.adapters.trainable import Trainee
from medtune.models.local.local_model import LocalModel


class FullFineTuned(Trainee):
    """A base model whose every weight is trained.

    Args:
        model: The base; its network is changed in place.
        recompute: As for `Trainee`.
    """

    kind = "model"

    def __init__(self, model: LocalModel, recompute: bool = False) -> None:
        self._dtype = next(model.network.parameters()).dtype
        super().__init__(model, recompute)

    def _prepared(self, network: Any) -> nn.Module:
        inner: nn.Module = network
        return inner.requires_grad_(True)

    def _write(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        # In the precision in which the model was trained and examined; a buffer learns nothing.
        state = {name: weight.to(self._dtype) for name, weight in weights.items()}
        learned = {name for name, _ in self._inner.named_parameters(remove_duplicate=False)}
        state |= {n: t for n, t in self._inner.state_dict().items() if n not in learned}
        self._inner.save_pretrained(folder, state_dict=state, max_shard_size="1TB")
        self._encoder.tokenizer.save_pretrained(folder)

    def toward_base(self, weights: Mapping[str, Tensor], share: float) -> Mapping[str, Tensor]:
        """Keep a share of what was learned; the base is read once more from its folder."""
        base = LocalModel.load(self._source, "float32").network.to("cpu").state_dict()
        return {name: torch.lerp(base[name], weight, share) for name, weight in weights.items()}
