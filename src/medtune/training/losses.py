"""Compute the loss of answers and of options from the logits of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from medtune.training.collate import Batch


def compute_loss(logits: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Return the weighted sum of all losses of a batch, nats, fp32.

    An answer's loss is the negative log-probability of its tokens.  The loss of a question's
    options is the cross-entropy of the softmax over their log-likelihoods, each divided by its
    length.

    Args:
        logits: `[wanted, vocabulary]`.
        batch: The batch of the logits.
        label_smoothing: Probability of the target distribution that is spread over all options.
    """
    logprobs: Tensor = TokenLogprobs.apply(logits, batch.rows, batch.targets)  # type: ignore[no-untyped-call]
    loss = -(logprobs * batch.weights).sum()
    if (options := batch.options) is None:
        return loss
    questions, width = options.lengths.shape
    # Tokens of answers are added to a cell of their own at the end, which is not read.
    sums = logprobs.new_zeros(questions * width + 1).index_add(0, options.cells, logprobs)
    scores = sums[:-1].view(questions, width) / options.lengths
    missing = options.lengths.isinf()
    logs = scores.masked_fill(missing, -torch.inf).log_softmax(-1)
    right = logs.gather(1, options.right[:, None]).squeeze(1)
    mean = logs.masked_fill(missing, 0.0).sum(-1) / (~missing).sum(-1)
    compared = (1 - label_smoothing) * right + label_smoothing * mean
    return loss - (compared * options.weights).sum()


class TokenLogprobs(Function):
    """logits[row, target] - log(sum(exp(logits[row]))), in fp32.

    The probabilities are computed once: torch's cross-entropy computes the gradient from their
    logarithms, with a second exponential and two more passes over the logits (docs/log.md).  Many
    targets may share a row, such as the first tokens of all options.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probability of each target.

        Args:
            ctx: Autograd context.
            logits: `[row, vocabulary]`.
            rows: `[target]`, the row that predicts each target.
            targets: `[target]`, token ids.

        Returns:
            `[target]`, nats.
        """
        shares = torch.softmax(logits, dim=-1, dtype=torch.float32)
        # The largest probability never underflows, so the sum is computed from it.
        place = logits.argmax(dim=-1, keepdim=True)
        total = logits.gather(1, place).float() - shares.gather(1, place).log()
        ctx.save_for_backward(shares, rows, targets)
        ctx.dtype = logits.dtype
        return logits[rows, targets].float() - total[rows, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the logits: one at each target, minus the probabilities."""
        shares, rows, targets = ctx.saved_tensors
        weights = above.new_zeros(len(shares)).index_add_(0, rows, above)
        into = shares * -weights[:, None]
        into.index_put_((rows, targets), above, accumulate=True)
        return into.to(ctx.dtype), None, None
