"""Apply rotary position embeddings as one autograd function.

transformers computes x * cos + (-second half, first half) * sin: five passes over a head, and eight
backward.  Rotating the halves in place takes two; the backward pass is the inverse rotation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

_ROTARY_FUNCTION = "apply_rotary_pos_emb"
"""Name of the function in the module of each transformers architecture."""


class ApplyRotary(Function):
    """Rotate the two halves of every head against each other (Su et al. 2021, arXiv 2104.09864)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate a head.

        Args:
            ctx: Autograd context.
            x: `[batch, head, position, width]`.
            cos: `[batch, 1, position, width]`.
            sin: Like `cos`; both halves of `width` are equal.
        """
        ctx.save_for_backward(cos, sin)
        return _rotate_halves(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        """Rotate the gradient back: the transpose of a rotation is its inverse."""
        cos, sin = ctx.saved_tensors
        return _rotate_halves(above, cos, sin, -1), None, None


def _rotate_halves(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    half = x.shape[-1] // 2
    first, second, up = x[..., :half], x[..., half:], sin[..., :half]
    turned = x * cos
    turned[..., :half].addcmul_(second, up, value=-way)
    turned[..., half:].addcmul_(first, up, value=way)
    return turned


def apply_rotary(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """Replace transformers' `apply_rotary_pos_emb`, with the same arguments."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return tuple(ApplyRotary.apply(x, cos, sin) for x in (q, k))  # type: ignore[no-untyped-call]


def use_rotary(network: nn.Module) -> int:
    """Replace the rotary function of a model's architecture by `apply_rotary`.

    The function belongs to the architecture, so all its models in this process are changed; one
    that rotates otherwise (pairs instead of halves, a part of the width) is left unchanged.

    Returns:
        Number of changed functions; 0 if it was done before.
    """
    files = {type(module).__module__ for module in network.modules()}
    changed = 0
    for file in (sys.modules[name] for name in sorted(files)):
        own = getattr(file, _ROTARY_FUNCTION, None)
        if own is not None and own is not apply_rotary and _is_plain(own):
            setattr(file, _ROTARY_FUNCTION, apply_rotary)
            changed += 1
    return changed


def _is_plain(own: Callable[..., Any]) -> bool:
    """Return whether a function computes the same as `apply_rotary`, by a numeric test."""
    q, k = torch.linspace(-1, 1, 96).view(1, 2, 3, 16), torch.linspace(1, 2, 48).view(1, 1, 3, 16)
    angles = torch.outer(torch.arange(3.0), torch.linspace(1, 0.1, 8)).repeat(1, 2)[None]
    whole, part = ((a.cos(), a.sin()) for a in (angles, angles[..., 4:12]))
    try:
        theirs = own(q, k, *whole)
    except (TypeError, RuntimeError):  # it takes other arguments
        return False
    try:
        own(q, k, *part)
    except RuntimeError:  # it must refuse angles for a part of the width, as `apply_rotary` does
        return all(map(torch.allclose, apply_rotary(q, k, *whole), theirs))
    return False
