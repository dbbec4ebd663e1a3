"""Full fine-tuning: train every weight and save a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medtune.hub.progress_bars import restore_progress_bars
from medtune.models.adapters.trainable import TrainableModel
from medtune.models.local.local_model import LocalModel


class FullFineTuned(TrainableModel):
    """A base model whose every weight is trained.

    Args:
        model: The base; its network is changed in place.
        recompute: As for `TrainableModel`.
    """

    kind = "model"

    def __init__(self, model: LocalModel, recompute: bool = False) -> None:
        self._dtype = next(model.network.parameters()).dtype
        super().__init__(model, recompute)

    def _prepare_network(self, network: Any) -> nn.Module:
        inner: nn.Module = network
        return inner.requires_grad_(True)

    def _write_weights(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        # In the precision in which the model was trained and evaluated; buffers are not trained.
        state = {name: weight.to(self._dtype) for name, weight in weights.items()}
        learned = {name for name, _ in self._inner.named_parameters(remove_duplicate=False)}
        state |= {n: t for n, t in self._inner.state_dict().items() if n not in learned}
        self._inner.save_pretrained(folder, state_dict=state, max_shard_size="1TB")
        self._encoder.tokenizer.save_pretrained(folder)

    @restore_progress_bars()
    def interpolate_with_base(
        self, weights: Mapping[str, Tensor], share: float
    ) -> Mapping[str, Tensor]:
        """Interpolate between base and trained weights; the base is read again from its folder."""
        base = LocalModel.load(self._source, "float32").network.to("cpu").state_dict()
        return {name: torch.lerp(base[name], weight, share) for name, weight in weights.items()}
