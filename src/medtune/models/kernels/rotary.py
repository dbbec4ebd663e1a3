"""Rotary positions as one step of autograd.

transformers turns a head by x * cos + (-second half, first half) * sin: five passes over it, and
eight back.  Turned by halves where it lies it takes two, and back is the turn the other way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

_PLACE = "apply_rotary_pos_emb"
"""What transformers calls it, in the file of each architecture."""


class ApplyRotary(Function):
    """Rotate the two halves of every head against each other (Su et al. 2021, arXiv 2104.09864)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """ApplyRotary.

        Args:
            ctx: Autograd's.
            x: `[batch, head, position, width]`.
            cos: `[batch, 1, position, width]`.
            sin: Like `cos`; both halves of `width` are alike.
        """
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        """ApplyRotary back: the transpose of a rotation is its inverse."""
        cos, sin = ctx.saved_tensors
        return _turn(above, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    half = x.shape[-1] // 2
    first, second, up = x[..., :half], x[..., half:], sin[..., :half]
    turned = x * cos
    turned[..., :half].addcmul_(second, up, value=-way)
    turned[..., half:].addcmul_(first, up, value=way)
    return turned


def rotate(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """Stand in for transformers' function of the same arguments."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return tuple(ApplyRotary.apply(x, cos, sin) for x in (q, k))  # type: ignore[no-untyped-call]


def use_rotary(network: nn.Module) -> int:
    """Let the architecture of a model turn its heads by `ApplyRotary`.

    The function belongs to the architecture, so all models of it in this process follow; one that
    turns otherwise (pairs instead of halves, a part of the width) keeps its own.

    Returns:
        How many functions were changed, none where it was done before.
    """
    files = {type(module).__module__ for module in network.modules()}
    changed = 0
    for file in (sys.modules[name] for name in sorted(files)):
        own = getattr(file, _PLACE, None)
        if own is not None and own is not rotate and _is_plain(own):
            setattr(file, _PLACE, rotate)
            changed += 1
    return changed


def _is_plain(own: Callable[..., Any]) -> bool:
    """Prove on some numbers that a function does what `rotate` does."""
    q, k = torch.linspace(-1, 1, 96).view(1, 2, 3, 16), torch.linspace(1, 2, 48).view(1, 1, 3, 16)
    angles = torch.outer(torch.arange(3.0), torch.linspace(1, 0.1, 8)).repeat(1, 2)[None]
    whole, part = ((a.cos(), a.sin()) for a in (angles, angles[..., 4:12]))
    try:
        theirs = own(q, k, *whole)
    except (TypeError, RuntimeError):  # it takes other arguments
        return False
    try:
        own(q, k, *part)
    except RuntimeError:  # it must not take angles for a part of the width: `rotate` cannot
        return all(map(torch.allclose, rotate(q, k, *whole), theirs))
    return False
