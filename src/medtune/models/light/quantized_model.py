"""Quantize a model's layers to integers, save them, and load them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medtune.core.schemas.compression import Scheme
from medtune.models.light.int_layers import (
    Int8Embedding,
    Int8Linear,
    quantize_int8,
    quantize_int8_two_terms,
)

ONE_TERM_SCHEMES: tuple[Scheme, ...] = ("int8-dynamic",)
"""Schemes with one term: of tokens, and of the weights of embeddings and head."""


def quantize_network(network: Any, scheme: Scheme) -> None:
    """Quantize a model's dense layers, embeddings and head, in place."""
    table, head = network.get_input_embeddings(), network.get_output_embeddings()
    coarse, tied = scheme in ONE_TERM_SCHEMES, head.weight is table.weight
    rounded = _quantize_embedding(table.weight.data, coarse)
    for path, layer in list(network.named_modules()):
        if layer is table:
            weight, scale, rest = rounded
            packed: nn.Module = Int8Embedding(weight, scale, network.dtype, rest)
        elif layer is head:
            weight, scale, rest = rounded if tied else _quantize_embedding(head.weight.data, coarse)
            packed = Int8Linear(weight, scale, _bias(layer), rest, coarse)
        elif isinstance(layer, nn.Linear):
            packed = Int8Linear(*quantize_int8(layer.weight.data), _bias(layer), coarse=coarse)
        else:
            continue
        network.set_submodule(path, packed)


def _quantize_embedding(weight: Tensor, coarse: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Quantize the embedding or the head."""
    return (*quantize_int8(weight), None) if coarse else quantize_int8_two_terms(weight)


def save_quantized(network: Any, path: Path) -> None:
    """Save a quantized model's weights; tied weights are written once."""
    from safetensors.torch import save_file

    written: dict[int, str] = {}
    state = {}
    for name, tensor in network.state_dict().items():
        if written.setdefault(tensor.data_ptr(), name) == name:
            state[name] = tensor.contiguous()
    save_file(state, path)


def load_quantized(folder: Path, file: str, scheme: Scheme, dtype: torch.dtype) -> Any:
    """Load a quantized model; its file is memory-mapped.

    Args:
        folder: Folder with config.json and the weights.
        file: File name of the weights.
        scheme: Quantization scheme.
        dtype: Dtype of everything that is not in integers.
    """
    from accelerate import init_empty_weights
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    state = load_file(folder / file)
    config = AutoConfig.from_pretrained(folder)
    with init_empty_weights(include_buffers=False):
        network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    table, head = network.get_input_embeddings(), network.get_output_embeddings()
    names = {layer: path for path, layer in network.named_modules()}
    for layer, path in names.items():
        if layer is table:
            network.set_submodule(path, load_embedding(state, path, dtype))
        elif isinstance(layer, nn.Linear):
            # A head tied to the embedding is not in the file.
            shares = layer is head and f"{path}.weight" not in state
            network.set_submodule(
                path, load_linear(state, names[table] if shares else path, scheme)
            )
    for path, parameter in list(network.named_parameters()):
        module, _, name = path.rpartition(".")
        value = state[path].to(dtype)
        assert value.shape == parameter.shape, f"{path} has another shape"
        setattr(network.get_submodule(module), name, nn.Parameter(value, requires_grad=False))
    return network


def load_linear(state: dict[str, Tensor], path: str, scheme: Scheme) -> Int8Linear:
    """Build the dense layer of a given name from a quantized model's weights."""
    weight, scale = state[f"{path}.weight"], state[f"{path}.scale"]
    bias = state.get(f"{path}.bias")
    return Int8Linear(weight, scale, bias, state.get(f"{path}.rest"), scheme in ONE_TERM_SCHEMES)


def load_embedding(state: dict[str, Tensor], path: str, dtype: torch.dtype) -> Int8Embedding:
    """Build the embedding of a given name from a quantized model's weights."""
    weight, scale = state[f"{path}.weight"], state[f"{path}.scale"]
    return Int8Embedding(weight, scale, dtype, state.get(f"{path}.rest"))


def _bias(layer: nn.Linear) -> Tensor | None:
    return layer.bias.data if layer.bias is not None else None
