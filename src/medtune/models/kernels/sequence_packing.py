"""Rows of unlike length laid end to end, behind what all of them begin with.

Every layer but attention treats tokens one by one, so there a batch needs no padding and its
shared beginning (system message, opening of the question) stands in it once.  Attention alone
puts the rows side by side.  The beginning is the same tokens at the same places in every row, so
its states are too, and the gradients that reach it from all rows add up as they should.
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
    """Where the tokens of a packed batch are."""

    prefix: int
    """Tokens that all rows begin with; they stand first."""
    rows: int
    width: int
    """Tokens of the longest row, the prefix left out."""
    spread: Tensor
    """`[row * width]`: for every place its token, counted behind the prefix; pads repeat one."""
    collect: Tensor
    """`[token]`: for every token behind the prefix its place."""
    mask: Tensor
    """`[1, 1, width, prefix + width]`, additive: a row sees the prefix and its own past."""
    positions: Tensor
    """`[1, prefix + token]`: of every token in its own sequence."""

    @classmethod
    def of(cls, lengths: Sequence[int], prefix: int, device: torch.device) -> Layout:
        """Lay out rows.

        Args:
            lengths: Tokens of each row, the prefix left out; at least one each.
            prefix: Tokens that all begin with.
            device: Where the batch is.
        """
        width = max(lengths)
        sizes = torch.tensor(lengths, device=device)
        starts = torch.tensor([0, *accumulate(lengths)][:-1], device=device)
        place = torch.arange(width, device=device)
        real = place < sizes[:, None]
        spread = torch.where(real, starts[:, None] + place, 0).flatten()
        later = torch.ones(width, width, dtype=torch.bool, device=device).triu_(1)
        mask = torch.zeros(width, prefix + width, device=device)
        mask[:, prefix:].masked_fill_(later, float("-inf"))
        own = place.expand(len(sizes), -1)[real]
        return cls(
            prefix=prefix,
            rows=len(sizes),
            width=width,
            spread=spread,
            collect=real.flatten().nonzero().flatten(),
            mask=mask[None, None],
            positions=torch.cat([torch.arange(prefix, device=device), prefix + own])[None],
        )

    def side_by_side(self, flat: Tensor) -> Tensor:
        """Turn `[1, head, token, width]`, the prefix left out, into `[row, head, place, width]`."""
        found: Tensor = _Spread.apply(flat[0], self.spread, self.collect)  # type: ignore[no-untyped-call]
        return found.view(len(found), self.rows, self.width, -1).transpose(0, 1)

    def end_to_end(self, rows: Tensor) -> Tensor:
        """Turn `[row, place, head, width]` into `[1, token, head, width]`, pads dropped."""
        found: Tensor = _Collect.apply(rows.flatten(0, 1), self.collect)  # type: ignore[no-untyped-call]
        return found[None]


class _Spread(Function):
    """Pick tokens into places; every token has one place, so the way back is a pick too."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, spread: Tensor, collect: Tensor) -> Tensor:
        """`[head, token, width]` -> `[head, place, width]`."""
        ctx.save_for_backward(collect)
        return flat.index_select(1, spread)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Leave out the pads: nobody sees them, so nothing comes back from them."""
        (collect,) = ctx.saved_tensors
        return gradients[0].index_select(1, collect), None, None


class _Collect(Function):
    """Pick places into tokens; what comes back to a pad is zero."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, collect: Tensor) -> Tensor:
        """`[place, head, width]` -> `[token, head, width]`."""
        ctx.save_for_backward(collect)
        ctx.places = len(rows)
        return rows.index_select(0, collect)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Put every gradient in its place."""
        (collect,) = ctx.saved_tensors
        above = gradients[0]
        return above.new_zeros(ctx.places, *above.shape[1:]).index_copy_(0, collect, above), None
