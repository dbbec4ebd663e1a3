"""Dense layers and embeddings with weights in 8-bit integers.

Each output channel of an int8 weight has a scale, and so has each token, computed in the forward
pass; their product is exact in int32 (LLM.int8(), Dettmers et al. 2022, arXiv 2208.07339, section
2.1).  A token's scale does not depend on the others in its batch.

- int8: a token is the sum of two int8 terms, the second for what the first rounds off, so that
  practically only the weights are rounded: as close to the original as bf16.
- int8-dynamic (W8A8): one term.  Twice as fast, with 1 % noise in every layer, which changes
  the choices of an uncertain model, even from one batch to another.

Embeddings and head, a fifth of a small model, are in int8 as well.  The scheme int8 stores them in
two terms, because a rounding error of the head changes the answer directly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SECOND_TERM_STEPS = 64
"""Steps of the second term in one step of the first."""
MAX_EXACT_COLUMNS = 2**31 // (127 * 127 * SECOND_TERM_STEPS + 127 * SECOND_TERM_STEPS)
"""Most columns, 2,064, for which the sum of two terms always fits into 32 bits."""
MIN_ROWS_CUDA = 17
"""Fewest rows of torch's int8 product on CUDA."""
_TINY = 1e-9


class Int8Linear(nn.Module):
    """A dense layer with weights in int8, and tokens in one or two terms of int8.

    Args:
        weight: `[out, in]`, int8.
        scale: `[out]`, fp32.
        bias: `[out]` or None.
        rest: `[out, in]`, int8, second term of the weights in steps of
            1 / SECOND_TERM_STEPS; or None.
        coarse: Use one term per token instead of two.
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
            terms.append(scaled.sub_(terms[0]).mul_(SECOND_TERM_STEPS).round_())
            unit.div_(SECOND_TERM_STEPS)
        out = _int_matmul(terms, self.weight).float()
        if self.rest is not None:
            out.add_(_int_matmul(terms, self.rest).float(), alpha=1 / SECOND_TERM_STEPS)
        out.mul_(self.scale).mul_(unit)
        if self.bias is not None:
            out += self.bias
        return out.to(x.dtype).view(*x.shape[:-1], -1)


def _int_matmul(terms: list[Tensor], weight: Tensor) -> Tensor:
    """Multiply tokens by weights: `[row, out]`, in steps of the last term.

    The result is exact up to MAX_EXACT_COLUMNS columns.

    Args:
        terms: `[row, in]` each, integers; a second one is in steps of 1 / SECOND_TERM_STEPS.
        weight: `[out, in]`, int8.
    """
    found: Tensor | None = None
    for term in terms:
        whole, count = term.to(torch.int8), len(term)
        if whole.is_cuda and count < MIN_ROWS_CUDA:
            whole = nn.functional.pad(whole, (0, 0, 0, MIN_ROWS_CUDA - count))
        product = torch._int_mm(whole, weight.t())[:count]
        if found is None:
            found = product
        else:
            wide = found if weight.shape[1] <= MAX_EXACT_COLUMNS else found.float()
            found = wide.mul_(SECOND_TERM_STEPS).add_(product)
    assert found is not None, "a token has at least one term"
    return found


class Int8Embedding(nn.Module):
    """An embedding in int8, one scale per token.

    Args:
        weight: `[token, hidden]`, int8.
        scale: `[token]`, fp32.
        dtype: Dtype of the output vectors.
        rest: See `Int8Linear`.
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
            found.add_(self.rest[ids], alpha=1 / SECOND_TERM_STEPS)
        return found.mul_(self.scale[ids].unsqueeze(-1)).to(self.dtype)


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a matrix to int8, one scale per row.

    Args:
        weight: `[row, column]`.

    Returns:
        `[row, column]`, int8; and `[row]`, fp32.
    """
    scale = weight.float().abs().amax(1).clamp_min_(_TINY) / 127
    return (weight.float() / scale.unsqueeze(1)).round_().to(torch.int8), scale


def quantize_int8_two_terms(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantize a matrix to two terms of int8; see `quantize_int8`.

    Returns:
        First term, `[row, column]`; scale, `[row]`; second term, in steps of 1 / SECOND_TERM_STEPS.
    """
    whole, scale = quantize_int8(weight)
    rest = (weight.float() / scale.unsqueeze(1)).sub_(whole).mul_(SECOND_TERM_STEPS).round_()
    return whole, scale, rest.to(torch.int8)
