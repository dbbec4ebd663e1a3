"""Optimize fp32 master weights with AdamW."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from medtune.training.sharding import gather_tensor, gather_tensors, shard_like


class MasterAdamW:
    """AdamW with fp32 master weights, whatever the precision of the model.

    A bf16 weight near 1 cannot change by 1e-4: the update is smaller than its spacing.  The master
    weights can; their rounded copy is written to the model after every step.  Parameters in fp32
    are their own masters.

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
            factor: Factor of the learning rate.
            clip: Largest global gradient norm.

        Returns:
            The global norm before clipping.
        """
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            if master is not parameter and parameter.grad is not None:
                master.grad = parameter.grad.float()
                parameter.grad = None  # at once: all gradients need not lie in both precisions
        norm = gather_tensor(torch.nn.utils.clip_grad_norm_(list(self.masters.values()), clip))
        for group in self._adam.param_groups:
            group["lr"] = self.rate * factor
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self._copy_to_model(self.masters)
        return float(norm)

    @contextmanager
    def swap_weights(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Temporarily replace the weights of the model."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._copy_to_model(weights)
        try:
            yield
        finally:
            self._copy_to_model(own)

    @torch.no_grad()
    def _copy_to_model(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights to the model in its precision; a parameter may be its own master."""
        for name, parameter in self.parameters.items():
            if weights[name] is not parameter:
                parameter.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint; must be called in all processes."""
        adam = self._adam.state_dict()
        moments = {at: gather_tensors(some) for at, some in adam["state"].items()}
        return {"masters": gather_tensors(self.masters), "adam": {**adam, "state": moments}}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state exactly."""
        for name, master in self.masters.items():
            master.copy_(shard_like(state["masters"][name], master))
        self._copy_to_model(self.masters)
        moments = {
            at: {name: shard_like(m, master) if m.dim() else m for name, m in some.items()}
            for (at, some), master in zip(
                state["adam"]["state"].items(), self.masters.values(), strict=True
            )
        }
        self._adam.load_state_dict({**state["adam"], "state": moments})
