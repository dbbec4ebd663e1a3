"""Compute RMSNorm as one autograd function.

In plain torch, y = x / rms(x) * w passes five times over `[token, hidden]` forward and a dozen
times backward, most of them in fp32; in a small model that is a tenth of a training step.  Here
each way takes as few passes as torch's operators allow (docs/log.md).
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable


class RmsNorm(Function):
    """x / sqrt(mean(x^2) + epsilon) * weight, in fp32 (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return the normalised input.

        Args:
            ctx: Autograd context.
            x: `[..., hidden]`.
            weight: `[hidden]`.
            epsilon: Added to the mean square.

        Returns:
            `[..., hidden]`, in the precision of `x`.
        """
        wide = x.to(torch.float32, copy=True)
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return wide.mul_(scale).to(x.dtype).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Return the gradients of x and, where it is trained, of the weight."""
        x, weight, scale = ctx.saved_tensors
        normal = x.to(torch.float32, copy=True).mul_(scale)
        into = above.to(torch.float32, copy=True)
        into_weight = None
        if ctx.needs_input_grad[1]:
            into_weight = (into * normal).flatten(0, -2).sum(0).to(weight.dtype)
        into.mul_(weight)
        along = torch.linalg.vecdot(into, normal).div_(x.shape[-1]).unsqueeze(-1)
        into.addcmul_(normal, along, value=-1).mul_(scale)
        return into.to(x.dtype), into_weight, None


def use_rms_norms(network: nn.Module) -> int:
    """Replace the forward pass of a model's RMS norms on a CPU by `RmsNorm`.

    A norm that computes something else (another offset, no epsilon) is left unchanged.

    Returns:
        Number of changed norms.
    """
    plain = [
        module
        for module in network.modules()
        if is_rms_norm(module) and module.weight.device.type == "cpu"
    ]
    for module in plain:
        module.forward = MethodType(_forward, module)
    return len(plain)


def _forward(module: Any, x: Tensor) -> Tensor:
    found: Tensor = RmsNorm.apply(x, module.weight, module.variance_epsilon)  # type: ignore[no-untyped-call]
    return found


@torch.no_grad()
def is_rms_norm(module: Any) -> bool:
    """Return whether a module computes this norm, by its class and by a numeric test."""
    weight = getattr(module, "weight", None)
    if not type(module).__name__.endswith("RMSNorm") or not hasattr(module, "variance_epsilon"):
        return False
    if weight is None or weight.dim() != 1 or weight.device.type == "meta":
        return False
    sample = torch.linspace(-3, 2, 2 * len(weight)).view(2, -1).to(weight)
    rounding = 4 * torch.finfo(weight.dtype).eps
    return torch.allclose(_forward(module, sample), module(sample), rtol=rounding, atol=rounding)
