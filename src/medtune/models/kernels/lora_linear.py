"""Compute a dense layer with its LoRA update as one autograd function.

In plain torch, y = x W' + s (x A') B' needs two more passes over `[token, out]` each way, to scale
the update and to add it.  Here the update is accumulated into the product in place, which saves a
seventh of the time in these layers (docs/log.md).
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import Tensor, nn
from torch.autograd.function import Function


class LoraProduct(Function):
    """x W' + b + scale (x A') B', with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """Return the output of the layer.

        Args:
            ctx: Autograd context.
            x: `[..., in]`.
            weight: `[out, in]`, frozen.
            bias: `[out]`, frozen, or None.
            a: `[rank, in]`.
            b: `[out, rank]`.
            scale: Scale of the update.

        Returns:
            `[..., out]`.
        """
        flat = x.reshape(-1, x.shape[-1])
        low = (flat @ a.t()).mul_(scale)
        y = nn.functional.linear(flat, weight, bias).addmm_(low, b.t())
        ctx.save_for_backward(flat, low, weight, a, b)
        ctx.scale = scale
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B; the base layer is frozen."""
        flat, low, weight, a, b = ctx.saved_tensors
        (above,) = gradients
        above = above.reshape(-1, above.shape[-1])
        down = (above @ b).mul_(ctx.scale)
        into_x = None
        if ctx.needs_input_grad[0]:  # the first layer's input is an embedding, which is frozen
            into_x = (above @ weight).addmm_(down, a)
            into_x = into_x.view(*gradients[0].shape[:-1], -1)
        return into_x, None, None, down.t() @ flat, above.t() @ low, None


def use_lora_products(network: nn.Module) -> int:
    """Replace the forward pass of peft's plain LoRA layers by `LoraProduct`.

    Layers that do more (dropout, DoRA, a quantized base) keep peft's forward pass.

    Returns:
        Number of changed layers.
    """
    from peft.tuners.lora import Linear

    layers = [module for module in network.modules() if type(module) is Linear]
    plain = [layer for layer in layers if _is_plain(layer)]
    for layer in plain:
        layer.forward = MethodType(_forward, layer)
    return len(plain)


def _is_plain(layer: Any) -> bool:
    """Return whether a layer is one dense product plus one plain LoRA update."""
    (name,) = layer.active_adapters
    return (
        type(layer.base_layer) is nn.Linear
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
        and layer.lora_A[name].weight.dtype == layer.base_layer.weight.dtype
    )


def _forward(layer: Any, x: Tensor) -> Tensor:
    (name,) = layer.active_adapters
    base = layer.base_layer
    found: Tensor = LoraProduct.apply(  # type: ignore[no-untyped-call]
        x,
        base.weight,
        base.bias,
        layer.lora_A[name].weight,
        layer.lora_B[name].weight,
        layer.scaling[name],
    )
    return found
