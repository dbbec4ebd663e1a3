"""Compute the loss at supervised tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from medtune.training.collate import Batch


def compute_token_losses(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy at every supervised token, `[supervised]`, nats, fp32.

    Args:
        logits: `[supervised, vocabulary]`.
        batch: The batch of the logits.
    """
    if batch.choices is not None:
        among = logits.gather(1, batch.choices.clamp(min=0))
        logits = among.masked_fill(batch.choices < 0, -torch.inf)
    found: Tensor = CrossEntropy.apply(logits, batch.targets)  # type: ignore[no-untyped-call]
    return found


class CrossEntropy(Function):
    """log(sum(exp(logits))) - logits[target], in fp32.

    The probabilities are computed once: torch's cross-entropy computes the gradient from their
    logarithms, with a second exponential and two more passes over the logits (docs/log.md).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each token.

        Args:
            ctx: Autograd context.
            logits: `[token, vocabulary]`.
            targets: `[token]`, indices of the right tokens.

        Returns:
            `[token]`, nats.
        """
        shares = torch.softmax(logits, dim=-1, dtype=torch.float32)
        # The largest probability never underflows, so the sum is computed from it.
        place = logits.argmax(dim=-1, keepdim=True)
        total = logits.gather(1, place).float() - shares.gather(1, place).log()
        right = targets.unsqueeze(1)
        ctx.save_for_backward(shares, right)
        ctx.dtype = logits.dtype
        return (total - logits.gather(1, right).float()).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the logits: the probabilities, minus one at the target."""
        shares, right = ctx.saved_tensors
        weights = above.unsqueeze(1)
        into = (shares * weights).scatter_add_(1, right, -weights)
        return into.to(ctx.dtype), None
