"""The loss at supervised tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from medtune.training.collate import Batch


def token_losses(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy at every supervised token, `[supervised]`, nats, fp32.

    Args:
        logits: `[supervised, vocabulary]`.
        batch: Where they come from.
    """
    if batch.choices is not None:
        among = logits.gather(1, batch.choices.clamp(min=0))
        logits = among.masked_fill(batch.choices < 0, -torch.inf)
    found: Tensor = CrossEntropy.apply(logits, batch.targets)  # type: ignore[no-untyped-call]
    return found


class CrossEntropy(Function):
    """log(sum(exp(logits))) - logits[target], in fp32.

    The probabilities are computed once: torch's own goes back from their logarithms, with a second
    exponential of every logit and two more passes over them (docs/log.md).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute it.

        Args:
            ctx: Autograd's.
            logits: `[token, vocabulary]`.
            targets: `[token]`, which is right.

        Returns:
            `[token]`, nats.
        """
        shares = torch.softmax(logits, dim=-1, dtype=torch.float32)
        # The likeliest never underflows, so the sum is read off it.
        place = logits.argmax(dim=-1, keepdim=True)
        total = logits.gather(1, place).float() - shares.gather(1, place).log()
        right = targets.unsqueeze(1)
        ctx.save_for_backward(shares, right)
        ctx.dtype = logits.dtype
        return (total - logits.gather(1, right).float()).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the logits: share minus one where it is right."""
        shares, right = ctx.saved_tensors
        weights = above.unsqueeze(1)
        into = (shares * weights).scatter_add_(1, right, -weights)
        return into.to(ctx.dtype), None
