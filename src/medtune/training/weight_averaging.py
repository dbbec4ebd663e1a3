"""Choose the weights of a run: the last, an average, or the best on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medtune.core.experiment import TrainingConfig
from medtune.core.records import Proportion, ValidationPoint
from medtune.training.master_adamw import MasterAdamW
from medtune.training.sharding import gather_tensors, shard_all_like


class WeightAverager:
    """Average of the weights of a run, and its best weights by validation accuracy.

    Args:
        optimizer: Optimizer with the master weights.
        settings: `average`, `keep` and `patience`.

    Attributes:
        points: Validations so far.
    """

    def __init__(self, optimizer: MasterAdamW, settings: TrainingConfig) -> None:
        self._optimizer = optimizer
        self._settings = settings
        self._steps = 0
        self._average: dict[str, Tensor] = {}
        self._best: dict[str, Tensor] = {}
        self.points: list[ValidationPoint] = []

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the average with the newest weights.

        Its decay grows during the run, as in torch's and TensorFlow's averages, so that the first
        steps lose their weight soon.
        """
        if not self._settings.average:
            return
        decay = min(self._settings.average, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        for name, master in self._optimizer.masters.items():
            mean = self._average.setdefault(name, master.detach().clone())
            mean.lerp_(master.detach(), 1 - decay)

    @property
    def current_weights(self) -> Mapping[str, Tensor]:
        """Last or averaged weights, which a run without validation would keep."""
        return self._average or self._optimizer.masters

    def record_validation(self, step: int, accuracy: Proportion) -> None:
        """Record a validation of `current_weights`; among equal ones the first is the best."""
        self.points.append(ValidationPoint(step=step, accuracy=accuracy))
        if self._settings.keep == "best" and self._best_step == step:
            self._best = {n: t.detach().clone() for n, t in self.current_weights.items()}

    @property
    def _best_step(self) -> int:
        """Step of the best validation, 0 before there is one."""
        best = max(self.points, key=lambda point: point.accuracy.value, default=None)
        return best.step if best else 0

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the last `patience` validations brought no improvement."""
        since = sum(point.step > self._best_step for point in self.points)
        return 0 < self._settings.patience <= since

    @property
    def kept_step(self) -> int | None:
        """Step of the kept weights; None for the last step."""
        return self._best_step if self._best else None

    @property
    def kept_weights(self) -> Mapping[str, Tensor]:
        """The weights to save, fp32."""
        return self._best or self.current_weights

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint; must be called in all processes."""
        return {
            "steps": self._steps,
            "average": gather_tensors(self._average),
            "best": gather_tensors(self._best),
            "points": [point.model_dump(mode="json") for point in self.points],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state exactly."""
        masters = self._optimizer.masters
        self._average = shard_all_like(state["average"], masters)
        self._best = shard_all_like(state["best"], masters)
        self._steps = state["steps"]
        self.points = [ValidationPoint.model_validate(point) for point in state["points"]]
