"""Even out activations before they are rounded to integers (SmoothQuant).

A few channels of a decoder's activations are many times larger than the rest; next to them all
others round to nothing.  Dividing a channel by s before a layer and multiplying the layer's column
by s changes no product, and the division costs nothing where the step before can take it into its
own weights: a norm, or another dense layer (Xiao et al. 2023, arXiv 2211.10438, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medtune.models.kernels.rms_norm import is_plain

ALPHA = 0.5
"""Share of the difficulty that moves from activations to weights (section 4.2)."""
_TINY = 1e-5


@torch.no_grad()
def smooth(network: Any, read: Callable[[], object]) -> int:
    """Even out the inputs of all dense layers of a Llama-like decoder, in place.

    Args:
        network: In fp32; what it computes stays the same but for rounding.
        read: Lets the network read some typical prompts.

    Returns:
        How many layers were changed: those of an unknown architecture are left as they are.
    """
    blocks = [block for block in network.get_decoder().layers if _is_known(block)]
    with _largest([_taker(block) for block in blocks]) as found:
        read()
    for block, tops in zip(blocks, found, strict=True):
        _smooth_block(block, *tops)
    return len(blocks)


def _smooth_block(block: Any, into_heads: Tensor, into_out: Tensor, *into_mlp: Tensor) -> None:
    heads, mlp = block.self_attn, block.mlp
    queries = (heads.q_proj, heads.k_proj, heads.v_proj)
    _norm_takes(block.input_layernorm, queries, _scales(into_heads, queries))
    # Query heads that share a value head share its channels' scales.
    scales = _scales(into_out, (heads.o_proj,)).view(-1, heads.num_key_value_groups, heads.head_dim)
    shared = scales.amax(1, keepdim=True)
    _layer_takes(heads.v_proj, shared.flatten(), heads.o_proj, shared.expand_as(scales).flatten())
    into_gate, into_down = into_mlp
    gates = (mlp.gate_proj, mlp.up_proj)
    _norm_takes(block.post_attention_layernorm, gates, _scales(into_gate, gates))
    scales = _scales(into_down, (mlp.down_proj,))
    _layer_takes(mlp.up_proj, scales, mlp.down_proj, scales)


def _scales(top: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Choose s for each input channel: top^a / weight^(1 - a) (section 4.2, equation 4)."""
    columns = torch.stack([layer.weight.abs().amax(0) for layer in layers]).amax(0)
    return top.clamp_min(_TINY) ** ALPHA / columns.clamp_min(_TINY) ** (1 - ALPHA)


def _norm_takes(norm: Any, layers: Sequence[nn.Linear], scales: Tensor) -> None:
    norm.weight.div_(scales)
    for layer in layers:
        layer.weight.mul_(scales)


def _layer_takes(before: nn.Linear, down: Tensor, after: nn.Linear, up: Tensor) -> None:
    before.weight.div_(down.unsqueeze(1))
    if before.bias is not None:
        before.bias.div_(down)
    after.weight.mul_(up)


def _taker(block: Any) -> tuple[nn.Linear, ...]:
    """List the layers whose inputs are evened out, one for each input."""
    heads, mlp = block.self_attn, block.mlp
    return heads.q_proj, heads.o_proj, mlp.gate_proj, mlp.down_proj


@contextmanager
def _largest(groups: Sequence[Sequence[nn.Linear]]) -> Iterator[list[list[Tensor]]]:
    """Keep the largest absolute value of each input channel, `[group][layer]`, `[channel]`."""
    found = [[layer.weight.new_zeros(layer.in_features) for layer in group] for group in groups]

    def watch(layer: nn.Linear, top: Tensor) -> Any:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            top.copy_(top.maximum(inputs[0].abs().flatten(0, -2).amax(0)))

        return layer.register_forward_pre_hook(look)

    handles = [
        watch(layer, top)
        for group, tops in zip(groups, found, strict=True)
        for layer, top in zip(group, tops, strict=True)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _is_known(block: Any) -> bool:
    """Tell whether a layer is built as Llama's are, with norms that are plain products."""
    try:
        layers = (*_taker(block), block.self_attn.k_proj, block.self_attn.v_proj, block.mlp.up_proj)
        norms = (block.input_layernorm, block.post_attention_layernorm)
        block.self_attn.num_key_value_groups, block.self_attn.head_dim  # noqa: B018 - are there
    except AttributeError:
        return False
    return all(isinstance(layer, nn.Linear) for layer in layers) and all(map(is_plain, norms))
