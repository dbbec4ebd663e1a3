"""Compute attention over short rows as plain matrix products.

The fused kernel that torch has for CPUs is made for long rows.  Over the 50 to 250 tokens of an
exam question its blocks are small and mostly masked: 15 to 23 % of a pass, where two batched
products and a softmax take 4 to 8 % (docs/log.md).  Long rows and GPUs keep the fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from medtune.models.kernels.sequence_packing import Layout

NAME = "medtune_short"
"""Name in transformers' attention registry after `use_short_attention`."""
MAX_KEYS = 256
"""Longest row; beyond it the scores, `[head, query, key]`, no longer fit the CPU caches."""

_UNSUPPORTED_ARGUMENTS = ("position_bias", "softcap", "s_aux", "cache")
"""Arguments of some architectures that are left to the fused kernel."""


def use_short_attention(network: Any) -> None:
    """Set `attend` as the kernel of a transformers model, if it allows another kernel."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    network.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Compute attention, by plain matrix products where that is faster.

    Args:
        module: The attention layer.
        query: `[batch, head, query, width]`.
        key: `[batch, group, key, width]`; heads in a row share a group's keys.
        value: Like `key`.
        attention_mask: `[batch or 1, 1, query, key]`, additive or boolean; None is causal.
        scaling: Factor of the scores; None is 1 / sqrt(width).
        dropout: Dropout probability of the weights, in training.
        layout: Layout of a packed batch, `[1, head, token, width]`, with its own mask.
        others: Further arguments of a transformers kernel.

    Returns:
        `[batch, query, head, width]`, and no weights.
    """
    if layout is not None:
        kernel = partial(attend, module, scaling=scaling, dropout=dropout, **others)
        return _attend_packed(kernel, layout, query, key, value), None
    batch, heads, rows, width = query.shape
    groups, keys = key.shape[1:3]
    causal = others.get("is_causal")
    causal = getattr(module, "is_causal", False) if causal is None else causal
    if attention_mask is None:
        known = causal and rows == keys
    else:
        known = attention_mask.shape[1] == 1
    known = (
        known and not dropout and all(others.get(name) is None for name in _UNSUPPORTED_ARGUMENTS)
    )
    if not known or query.device.type != "cpu" or rows == 1 < keys or keys > MAX_KEYS:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout, scaling, **others
        )
    mask = (
        _causal_mask(rows, query)
        if attention_mask is None
        else _additive_mask(attention_mask, query)
    )
    # The heads of a group are stacked along the rows, so that their keys are not copied.
    folded = query.reshape(batch * groups, -1, width)
    scaled = (key * (width**-0.5 if scaling is None else scaling)).reshape(-1, keys, width)
    scores = torch.bmm(folded, scaled.transpose(1, 2))
    scores = scores.view(batch, heads, rows, keys).add_(mask)
    weights = scores.softmax(-1).view(batch * groups, -1, keys)
    mixed = torch.bmm(weights, value.reshape(batch * groups, keys, width))
    return mixed.view(batch, heads, rows, width).transpose(1, 2), None


def _attend_packed(
    kernel: Callable[..., tuple[Tensor, None]],
    layout: Layout,
    query: Tensor,
    key: Tensor,
    value: Tensor,
) -> Tensor:
    """Compute attention within the prefix, and from every row to the prefix and itself."""
    first, prefix = layout.prefix, []
    queries, keys, values = (layout.to_padded(t[:, :, first:]) for t in (query, key, value))
    if first:
        opening = [t[:, :, :first] for t in (query, key, value)]
        prefix = [kernel(*opening, attention_mask=None)[0]]
        keys, values = (
            torch.cat([t.expand(layout.rows, -1, -1, -1), own], dim=2)
            for t, own in zip(opening[1:], (keys, values), strict=True)
        )
    mask = layout.mask.to(query.dtype)
    rows = kernel(queries, keys, values, attention_mask=mask)[0]
    return torch.cat([*prefix, layout.to_packed(rows)], dim=1)


def _causal_mask(rows: int, like: Tensor) -> Tensor:
    """Return a causal mask, `[rows, rows]`."""
    return like.new_full((rows, rows), torch.finfo(like.dtype).min).triu_(1)


def _additive_mask(mask: Tensor, like: Tensor) -> Tensor:
    """Convert a boolean mask into an additive one."""
    if mask.dtype != torch.bool:
        return mask
    return like.new_zeros(mask.shape).masked_fill_(~mask, torch.finfo(like.dtype).min)
