from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from medtune.models.export.smoothquant import smooth_activations
from medtune.models.light.quantized_model import quantize_network

IDS = torch.randint(0, 64, (4, 12), generator=torch.Generator().manual_seed(1))
LISTENERS = tuple(f"{name}_proj.weight" for name in ("q", "k", "v", "gate", "up"))
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,
}


def network(kind: str = "llama") -> Any:
    """A random decoder with a few channels that are loud, and that no layer listens to more."""
    torch.manual_seed(0)
    made: Any = (
        LlamaForCausalLM(LlamaConfig(**SHAPE))
        if kind == "llama"
        else Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    ).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
        if name.endswith("layernorm.weight"):
            parameter.data[::11] *= 40
        if name.endswith(LISTENERS):
            parameter.data[:, ::11] /= 40
    return made


@torch.no_grad()
def logits(some: Any) -> torch.Tensor:
    found: torch.Tensor = some(IDS).logits
    return found


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_it_changes_no_product(kind: str) -> None:
    plain, even = logits(network(kind)), network(kind)
    before = even.model.layers[0].mlp.up_proj.weight.clone()
    assert smooth_activations(even, lambda: even(IDS)) == 2
    assert not torch.equal(before, even.model.layers[0].mlp.up_proj.weight)
    assert torch.allclose(logits(even), plain, rtol=1e-3, atol=1e-3)


def test_integers_are_nearer_after_it() -> None:
    right = logits(network())
    rough, even = network(), network()
    smooth_activations(even, lambda: even(IDS))
    quantize_network(rough, "int8-dynamic")
    quantize_network(even, "int8-dynamic")
    assert (logits(even) - right).norm() < 0.6 * (logits(rough) - right).norm()


def test_nothing_watches_any_more_when_it_is_done() -> None:
    even = network()
    smooth_activations(even, lambda: even(IDS))
    assert not any(module._forward_pre_hooks for module in even.modules())


def test_a_layer_of_another_build_is_left_alone() -> None:
    other = network()
    other.model.layers[0].input_layernorm = torch.nn.LayerNorm(32)
    del other.model.layers[1].mlp.up_proj
    weights = [parameter.clone() for parameter in other.parameters()]
    assert smooth_activations(other, lambda: None) == 0
    assert all(map(torch.equal, weights, other.parameters()))
