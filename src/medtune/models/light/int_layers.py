"""Dense layers and embeddings with weights in 8-bit integers.

Each output channel of an int8 weight has one scale; each token has another, found as it comes; the
product between them is exact in int32 (LLM.int8(), Dettmers et al. 2022, arXiv 2208.07339, section
2.1).  A token's scale does not depend on the others in its batch.

- int8: a token is the sum of two int8 terms, the second for what the first rounds off, so that
  only the weights are rounded to speak of: as near the original as bf16.
- int8-dynamic (W8A8): one term.  Twice as fast, and noise of a per cent in every layer: by that the
  choices of a model that is not sure of them change, even from one batch to another.

Embeddings and head, a fifth of a small model, are in int8 as well; by `int8`, whose aim is to
change nothing, in two terms: what the head rounds off goes straight into the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FINE = 64
"""Steps of the second term in one of the first."""
FITS = 2**31 // (127 * 127 * FINE + 127 * FINE)
"""Columns, 2,064: over so many the sum of two terms fits into 32 bits, whatever they are."""
LEAST_ROWS_CUDA = 17
"""torch's int8 product on CUDA takes no fewer."""
_TINY = 1e-9


class Int8Linear(nn.Module):
    """A dense layer with weights in int8, and tokens in one or two terms of int8.

    Args:
        weight: `[out, in]`, int8.
        scale: `[out]`, fp32.
        bias: `[out]` or None.
        rest: `[out, in]`, int8, in steps of 1 / FINE: a second term of the weights; or None.
        coarse: One term of a token instead of two.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None
    rest: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        scale: Tensor,
        bias: Tensor | None = None,
        rest: Tensor | None = None,
        coarse: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.register_buffer("rest", rest)
        self.coarse = coarse

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., in]` to `[..., out]`, in the precision of `x`."""
        rows = x.reshape(-1, x.shape[-1]).float()
        unit = torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_())
        unit.clamp_min_(_TINY).div_(127)
        scaled = rows / unit
        terms = [scaled.round()]
        if not self.coarse:
            terms.append(scaled.sub_(terms[0]).mul_(FINE).round_())
            unit.div_(FINE)
        out = _product(terms, self.weight).float()
        if self.rest is not None:
            out.add_(_product(terms, self.rest).float(), alpha=1 / FINE)
        out.mul_(self.scale).mul_(unit)
        if self.bias is not None:
            out += self.bias
        return out.to(x.dtype).view(*x.shape[:-1], -1)


def _product(terms: list[Tensor], weight: Tensor) -> Tensor:
    """Multiply tokens by weights: `[row, out]`, in steps of the last term, exact where it FITS.

    Args:
        terms: `[row, in]` each, whole numbers; a second one counts in steps of 1 / FINE.
        weight: `[out, in]`, int8.
    """
    found: Tensor | None = None
    for term in terms:
        whole, count = term.to(torch.int8), len(term)
        if whole.is_cuda and count < LEAST_ROWS_CUDA:
            whole = nn.functional.pad(whole, (0, 0, 0, LEAST_ROWS_CUDA - count))
        product = torch._int_mm(whole, weight.t())[:count]
        if found is None:
            found = product
        else:
            wide = found if weight.shape[1] <= FITS else found.float()
            found = wide.mul_(FINE).add_(product)
    assert found is not None, "a token has at least one term"
    return found


class Int8Embedding(nn.Module):
    """A table of token vectors in int8, one scale each.

    Args:
        weight: `[token, hidden]`, int8.
        scale: `[token]`, fp32.
        dtype: Of the vectors that come out.
        rest: As of `Int8Linear`.
    """

    weight: Tensor
    scale: Tensor
    rest: Tensor | None

    def __init__(
        self, weight: Tensor, scale: Tensor, dtype: torch.dtype, rest: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("rest", rest)
        self.dtype = dtype

    def forward(self, ids: Tensor) -> Tensor:
        """Map token ids, `[...]`, to vectors, `[..., hidden]`."""
        found = self.weight[ids].float()
        if self.rest is not None:
            found.add_(self.rest[ids], alpha=1 / FINE)
        return found.mul_(self.scale[ids].unsqueeze(-1)).to(self.dtype)


def eight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to int8, one scale per row.

    Args:
        weight: `[row, column]`.

    Returns:
        `[row, column]`, int8; and `[row]`, fp32.
    """
    scale = weight.float().abs().amax(1).clamp_min_(_TINY) / 127
    return (weight.float() / scale.unsqueeze(1)).round_().to(torch.int8), scale


def sixteen(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Round a matrix to two terms of int8; see `eight`.

    Returns:
        Whole steps, `[row, column]`; scale, `[row]`; and the rest, in steps of 1 / FINE.
    """
    whole, scale = eight(weight)
    rest = (weight.float() / scale.unsqueeze(1)).sub_(whole).mul_(FINE).round_()
    return whole, scale, rest.to(torch.int8)
