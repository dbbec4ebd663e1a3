"""Which weights of a run are kept: the last, an average, or the best on validation questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medtune.core.experiment import TrainingConfig
from medtune.core.records import Proportion, ValidationPoint
from medtune.training.master_adamw import MasterAdamW
from medtune.training.sharding import all_shared_like, all_whole


class WeightAverager:
    """Follows a run and keeps what its settings ask for.

    Args:
        optimizer: Whose masters are followed.
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
    def after_step(self) -> None:
        """Take the newest weights into the average.

        Its memory grows with the run, as in torch's and TensorFlow's averages, so that the first
        steps do not weigh for long.
        """
        if not self._settings.average:
            return
        decay = min(self._settings.average, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        for name, master in self._optimizer.masters.items():
            mean = self._average.setdefault(name, master.detach().clone())
            mean.lerp_(master.detach(), 1 - decay)

    @property
    def current(self) -> Mapping[str, Tensor]:
        """What the run would keep if it ended now and the last weights were asked for."""
        return self._average or self._optimizer.masters

    def validated(self, step: int, accuracy: Proportion) -> None:
        """Note an examination of `current`; of equally good ones the first is the best."""
        self.points.append(ValidationPoint(step=step, accuracy=accuracy))
        if self._settings.keep == "best" and self._best_step == step:
            self._best = {n: t.detach().clone() for n, t in self.current.items()}

    @property
    def _best_step(self) -> int:
        """Step of the best validation, 0 before there is one."""
        best = max(self.points, key=lambda point: point.accuracy.value, default=None)
        return best.step if best else 0

    @property
    def exhausted(self) -> bool:
        """Whether as many validations as `patience` allows brought nothing better."""
        since = sum(point.step > self._best_step for point in self.points)
        return 0 < self._settings.patience <= since

    @property
    def kept_step(self) -> int | None:
        """Step whose weights are kept; None is the last one."""
        return self._best_step if self._best else None

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """The weights to save, fp32."""
        return self._best or self.current

    def state(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold; all processes must ask."""
        return {
            "steps": self._steps,
            "average": all_whole(self._average),
            "best": all_whole(self._best),
            "points": [point.model_dump(mode="json") for point in self.points],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state, bit for bit."""
        masters = self._optimizer.masters
        self._average = all_shared_like(state["average"], masters)
        self._best = all_shared_like(state["best"], masters)
        self._steps = state["steps"]
        self.points = [ValidationPoint.model_validate(point) for point in state["points"]]
