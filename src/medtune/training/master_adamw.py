"""AdamW on full-precision master weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from medtune.training.sharding import all_whole, shared_like, whole


class MasterAdamW:
    """AdamW whose weights are fp32, whatever precision the model computes in.

    A bf16 weight near 1 cannot take a step of 1e-4: the update is smaller than its spacing.
    The masters can; the model gets their rounded copy after every step.  Parameters that are
    fp32 already are their own masters.

    Args:
        parameters: Trainable parameters by name.
        rate: Full learning rate.
        decay: Decoupled weight decay (Loshchilov & Hutter 2017, arXiv 1711.05101).
    """

    def __init__(self, parameters: Mapping[str, Parameter], rate: float, decay: float) -> None:
        self.parameters = dict(parameters)
        self.rate = rate
        self.masters: dict[str, Tensor] = {
            name: p if p.dtype == torch.float32 else p.detach().float()
            for name, p in self.parameters.items()
        }
        self._adam = torch.optim.AdamW(
            list(self.masters.values()), lr=rate, weight_decay=decay, fused=True
        )

    @torch.no_grad()
    def step(self, factor: float, clip: float) -> float:
        """Apply the gradients and clear them.

        Args:
            factor: Scales the learning rate.
            clip: Largest norm of all gradients together.

        Returns:
            The norm before clipping.
        """
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            if master is not parameter and parameter.grad is not None:
                master.grad = parameter.grad.float()
        norm = whole(torch.nn.utils.clip_grad_norm_(list(self.masters.values()), clip))
        for group in self._adam.param_groups:
            group["lr"] = self.rate * factor
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        for parameter in self.parameters.values():
            parameter.grad = None
        self._put(self.masters)
        return float(norm)

    @contextmanager
    def showing(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Put other weights into the model for a while."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._put(weights)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        """Round weights into the model's precision; a parameter may be its own master."""
        for name, parameter in self.parameters.items():
            if weights[name] is not parameter:
                parameter.copy_(weights[name])

    def state(self) -> dict[str, Any]:
        """Return everything that a checkpoint must hold; all processes must ask."""
        adam = self._adam.state_dict()
        moments = {at: all_whole(some) for at, some in adam["state"].items()}
        return {"masters": all_whole(self.masters), "adam": {**adam, "state": moments}}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state, bit for bit."""
        for name, master in self.masters.items():
            master.copy_(shared_like(state["masters"][name], master))
        self._put(self.masters)
        moments = {
            at: {name: shared_like(m, master) if m.dim() else m for name, m in some.items()}
            for (at, some), master in zip(
                state["adam"]["state"].items(), self.masters.values(), strict=True
            )
        }
        self._adam.load_state_dict({**state["adam"], "state": moments})
