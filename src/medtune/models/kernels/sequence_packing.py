"""Pack rows of different lengths end to end, after their shared prefix.

Every layer but attention treats tokens independently, so a batch needs no padding there, and its
shared prefix (system message, start of the question) is included once.  Only attention pads the
rows.  The prefix has the same tokens at the same positions in every row, so its states are the same
too, and its gradients from all rows add up.

A row may be a tree in depth-first order, such as a question with its options as branches (`core/
token_trie.py`; Tree Training, arXiv 2511.00413): a token then sees its ancestors only, and the
gradients of all branches add up at the tokens that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions of the tokens of a packed batch."""

    prefix: int
    """Number of tokens that all rows begin with; they come first."""
    rows: int
    width: int
    """Tokens of the longest row without the prefix."""
    spread: Tensor
    """`[row * width]`: token index after the prefix for every position; pads repeat one."""
    collect: Tensor
    """`[token]`: position of every token after the prefix."""
    mask: Tensor
    """`[1 or row, 1, width, prefix + width]`, additive: a token sees the prefix, and its own past
    or its ancestors."""
    positions: Tensor
    """`[1, prefix + token]`: position of every token in its own sequence."""

    @classmethod
    def from_lengths(
        cls,
        lengths: Sequence[int],
        prefix: int,
        device: torch.device,
        ends: Tensor | None = None,
    ) -> Layout:
        """Build the layout of rows.

        Args:
            lengths: Tokens of each row without the prefix; at least one each.
            prefix: Number of tokens that all rows begin with.
            device: Device of the batch.
            ends: `[token]`: end of every token's subtree in its row; None if no row has branches.
        """
        width = max(lengths)
        sizes = torch.tensor(lengths, device=device)
        starts = torch.tensor([0, *accumulate(lengths)][:-1], device=device)
        place = torch.arange(width, device=device)
        real = place < sizes[:, None]
        spread = torch.where(real, starts[:, None] + place, 0).flatten()
        hidden = torch.ones(1, width, width, dtype=torch.bool, device=device).triu_(1)
        depth = place.expand(len(sizes), -1)
        if ends is not None:
            # Pads repeat the first token of the batch; nothing is read from them.
            hidden = hidden | (place[:, None] >= ends[spread].view(len(sizes), 1, width))
            hidden[:, place, place] = False  # a pad sees itself: a row of zeros has no softmax
            depth = (~hidden).sum(-1) - 1
        mask = torch.zeros(len(hidden), 1, width, prefix + width, device=device)
        mask[..., prefix:].masked_fill_(hidden[:, None], float("-inf"))
        own = depth[real]
        return cls(
            prefix=prefix,
            rows=len(sizes),
            width=width,
            spread=spread,
            collect=real.flatten().nonzero().flatten(),
            mask=mask,
            positions=torch.cat([torch.arange(prefix, device=device), prefix + own])[None],
        )

    def to_padded(self, flat: Tensor) -> Tensor:
        """Pad `[1, head, token, width]` without its prefix to `[row, head, position, width]`."""
        found: Tensor = _Spread.apply(flat[0], self.spread, self.collect)  # type: ignore[no-untyped-call]
        return found.view(len(found), self.rows, self.width, -1).transpose(0, 1)

    def to_packed(self, rows: Tensor) -> Tensor:
        """Pack `[row, position, head, width]` into `[1, token, head, width]`, dropping pads."""
        found: Tensor = _Collect.apply(rows.flatten(0, 1), self.collect)  # type: ignore[no-untyped-call]
        return found[None]


class _Spread(Function):
    """Gather tokens into padded rows; the backward pass is a gather too."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, spread: Tensor, collect: Tensor) -> Tensor:
        """Map `[head, token, width]` to `[head, position, width]`."""
        ctx.save_for_backward(collect)
        return flat.index_select(1, spread)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradients of the tokens; pads have none, as nothing attends to them."""
        (collect,) = ctx.saved_tensors
        return gradients[0].index_select(1, collect), None, None


class _Collect(Function):
    """Gather padded rows into tokens; the gradient of a pad is zero."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, collect: Tensor) -> Tensor:
        """Map `[position, head, width]` to `[token, head, width]`."""
        ctx.save_for_backward(collect)
        ctx.places = len(rows)
        return rows.index_select(0, collect)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Scatter the gradients to their positions."""
        (collect,) = ctx.saved_tensors
        above = gradients[0]
        return above.new_zeros(ctx.places, *above.shape[1:]).index_copy_(0, collect, above), None
