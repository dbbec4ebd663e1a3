"""Smooth activations before they are quantized to integers (SmoothQuant).

A few channels of a decoder's activations are many times larger than the rest, so all others round
to zero.  Dividing a channel by s before a layer and multiplying the layer's column by s changes no
product, and the division is free if it is merged into the weights of the preceding norm or dense
layer (Xiao et al. 2023, arXiv 2211.10438, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medtune.models.kernels.rms_norm import is_rms_norm

ALPHA = 0.5
"""Migration strength: share of the range moved from activations to weights (section 4.2)."""
_TINY = 1e-5


@torch.no_grad()
def smooth_activations(network: Any, read: Callable[[], object]) -> int:
    """Smooth the inputs of all dense layers of a Llama-like decoder, in place.

    Args:
        network: A network in fp32; its output stays the same up to rounding.
        read: Runs the network on calibration prompts.

    Returns:
        Number of changed layers; layers of an unknown architecture are left unchanged.
    """
    blocks = [block for block in network.get_decoder().layers if _is_supported_block(block)]
    with _record_input_maxima([_smoothed_layers(block) for block in blocks]) as found:
        read()
    for block, tops in zip(blocks, found, strict=True):
        _smooth_block(block, *tops)
    return len(blocks)


def _smooth_block(block: Any, into_heads: Tensor, into_out: Tensor, *into_mlp: Tensor) -> None:
    heads, mlp = block.self_attn, block.mlp
    queries = (heads.q_proj, heads.k_proj, heads.v_proj)
    _divide_norm(block.input_layernorm, queries, _smoothing_scales(into_heads, queries))
    # Query heads that share a value head share its channels' scales.
    scales = _smoothing_scales(into_out, (heads.o_proj,)).view(
        -1, heads.num_key_value_groups, heads.head_dim
    )
    shared = scales.amax(1, keepdim=True)
    _rescale_layer_pair(
        heads.v_proj, shared.flatten(), heads.o_proj, shared.expand_as(scales).flatten()
    )
    into_gate, into_down = into_mlp
    gates = (mlp.gate_proj, mlp.up_proj)
    _divide_norm(block.post_attention_layernorm, gates, _smoothing_scales(into_gate, gates))
    scales = _smoothing_scales(into_down, (mlp.down_proj,))
    _rescale_layer_pair(mlp.up_proj, scales, mlp.down_proj, scales)


def _smoothing_scales(top: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Choose s for each input channel: top^a / weight^(1 - a) (section 4.2, equation 4)."""
    columns = torch.stack([layer.weight.abs().amax(0) for layer in layers]).amax(0)
    return top.clamp_min(_TINY) ** ALPHA / columns.clamp_min(_TINY) ** (1 - ALPHA)


def _divide_norm(norm: Any, layers: Sequence[nn.Linear], scales: Tensor) -> None:
    norm.weight.div_(scales)
    for layer in layers:
        layer.weight.mul_(scales)


def _rescale_layer_pair(before: nn.Linear, down: Tensor, after: nn.Linear, up: Tensor) -> None:
    before.weight.div_(down.unsqueeze(1))
    if before.bias is not None:
        before.bias.div_(down)
    after.weight.mul_(up)


def _smoothed_layers(block: Any) -> tuple[nn.Linear, ...]:
    """Return one layer for each smoothed input of a block."""
    heads, mlp = block.self_attn, block.mlp
    return heads.q_proj, heads.o_proj, mlp.gate_proj, mlp.down_proj


@contextmanager
def _record_input_maxima(groups: Sequence[Sequence[nn.Linear]]) -> Iterator[list[list[Tensor]]]:
    """Record the largest absolute input of each channel, `[group][layer]`, `[channel]`."""
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


def _is_supported_block(block: Any) -> bool:
    """Return whether a block is built as in Llama, with plain RMS norms."""
    try:
        layers = (
            *_smoothed_layers(block),
            block.self_attn.k_proj,
            block.self_attn.v_proj,
            block.mlp.up_proj,
        )
        norms = (block.input_layernorm, block.post_attention_layernorm)
        block.self_attn.num_key_value_groups, block.self_attn.head_dim  # noqa: B018 - are there
    except AttributeError:
        return False
    return all(isinstance(layer, nn.Linear) for layer in layers) and all(map(is_rms_norm, norms))
