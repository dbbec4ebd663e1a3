"""Write a model as one GGUF file for llama.cpp, Ollama and LM Studio.

Tensor names, metadata layout and quantization in blocks of 32 come from the `gguf` package, as in
llama.cpp's own converter; K-quants are llama.cpp's own (`k_quants`).  This module adds the
architecture-specific parts: the hyperparameters, and the row order of RoPE (llama rotates
neighbouring pairs where transformers rotates halves).

The tokenizer is written from `tokenizer.json`.  GGUF knows pre-tokenizers by name only; one without
a name is refused, since llama.cpp would then produce other tokens than the model was trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medtune.core.errors import ModelError
from medtune.core.schemas.compression import Scheme
from medtune.models.export.k_quants import K_SCHEMES, choose_type, quantize_rows

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""GGUF architecture name by transformers model type."""
INTERLEAVED_ROPE = {"llama"}
"""Architectures whose queries and keys are stored for RoPE on neighbouring pairs."""
MIN_QUANTIZED_DIMENSIONS = 2
"""Fewest dimensions of a quantized tensor: vectors (norms, biases) stay in fp32."""


def write_gguf(network: Any, tokenizer: Any, path: Path, scheme: Scheme, title: str) -> None:
    """Write a model to a GGUF file.

    Args:
        network: The model in fp32, its adapter merged.
        tokenizer: Tokenizer of transformers, with its chat template.
        path: File to write.
        scheme: One of `GGUF_SCHEMES`.
        title: Display name of the model.

    Raises:
        ModelError: The architecture or the tokenizer is not supported, or K-quants cannot be made.
    """
    import gguf

    config = network.config
    name = _architecture(config)
    writer = gguf.GGUFWriter(path, name)
    try:
        writer.add_name(title)
        mix = f"MOSTLY_{scheme.removeprefix('gguf-').upper()}"
        writer.add_file_type(gguf.LlamaFileType[mix])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _write_hyperparameters(writer, config)
        _write_tokenizer(writer, tokenizer, config)
        architecture = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == name)
        tied = _is_tied(network)
        names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
        for own, tensor in _named_weights(network, tied):
            data = _interleave_rope_rows(tensor, own, config, name).float().cpu().numpy()
            there = names.get_name(own, try_suffixes=(".weight", ".bias"))
            assert there is not None, f"{own} has no name in GGUF"
            kind = _choose_type(scheme, there, data, config.num_hidden_layers, tied)
            if kind is None:
                writer.add_tensor(there, np.ascontiguousarray(data, dtype=np.float32))
            else:
                quantize = quantize_rows if scheme in K_SCHEMES else gguf.quantize
                writer.add_tensor(there, quantize(data, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _choose_type(
    scheme: Scheme, there: str, data: NDArray[np.float32], layers: int, tied: bool
) -> Any:
    """Return the GGML type of a tensor; None for one that stays in fp32."""
    import gguf

    if data.ndim < MIN_QUANTIZED_DIMENSIONS:
        return None
    if scheme in K_SCHEMES:
        kind = choose_type(scheme, there, data.shape[-1], layers, tied)
    else:
        kind = gguf.GGMLQuantizationType[scheme.removeprefix("gguf-").upper()]
    return None if data.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind


def _architecture(config: Any) -> str:
    if config.model_type not in ARCHITECTURES:
        raise ModelError(
            f"{config.model_type} models cannot be written as GGUF",
            expected=f"one of {', '.join(ARCHITECTURES)}",
            fix="write --scheme merge, and convert that folder with llama.cpp's own script",
        )
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        raise ModelError(
            f"a rotary embedding of type {rope['rope_type']} cannot be written as GGUF",
            expected="the default one",
            fix="write --scheme merge, and convert that folder with llama.cpp's own script",
        )
    return ARCHITECTURES[config.model_type]


def _write_hyperparameters(writer: Any, config: Any) -> None:
    """Write the hyperparameters of the architecture."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: Any, tokenizer: Any, config: Any) -> None:
    """Write vocabulary, merges, special tokens and chat template."""
    import gguf

    written = json.loads(tokenizer.backend_tokenizer.to_str())
    model = written["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise ModelError(
            f"a tokenizer of type {model['type']} cannot be written as GGUF",
            expected="byte-level BPE, as GPT-2, Llama 3, Qwen and SmolLM have",
            fix="write --scheme merge, and convert that folder with llama.cpp's own script",
        )
    tokens = [f"[PAD{i}]" for i in range(config.vocab_size)]
    kinds = [gguf.TokenType.UNUSED] * config.vocab_size
    for token, place in model["vocab"].items():
        tokens[place], kinds[place] = token, gguf.TokenType.NORMAL
    for added in written["added_tokens"]:
        tokens[added["id"]] = added["content"]
        special = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        kinds[added["id"]] = special
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer_name(written["pre_tokenizer"]))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    )
    for add, token in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if token is not None:
            add(token)
    writer.add_add_bos_token(False)  # the chat template writes every special token itself
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.chat_template)


def _pre_tokenizer_name(pre: dict[str, Any] | None) -> str:
    """Return the GGUF name of a pre-tokenizer.

    Raises:
        ModelError: The pre-tokenizer is not supported.
    """
    steps = (pre or {}).get("pretokenizers", [pre])
    kinds = [step["type"] if step else None for step in steps]
    if kinds == ["ByteLevel"] and steps[0]["use_regex"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        pattern = steps[0]["pattern"].get("Regex", "")
        if r"\p{N}{1,3}" in pattern:
            return "llama-bpe"
        if r"|\p{N}|" in pattern:
            return "qwen2"
    raise ModelError(
        f"a tokenizer that cuts text by {' and '.join(map(str, kinds))} has no name in GGUF that "
        "medtune knows",
        expected="the way of GPT-2, SmolLM, Llama 3 or Qwen 2",
        fix="write --scheme merge, and convert that folder with llama.cpp's own script",
    )


def _is_tied(network: Any) -> bool:
    """Return whether the head is the embedding."""
    return network.get_output_embeddings().weight is network.get_input_embeddings().weight


def _named_weights(network: Any, tied: bool) -> list[tuple[str, torch.Tensor]]:
    """List the weights by name; a head tied to the embedding is left out."""
    state = network.state_dict()
    return [(n, w) for n, w in state.items() if not (tied and n == "lm_head.weight")]


def _interleave_rope_rows(
    tensor: torch.Tensor, name: str, config: Any, architecture: str
) -> torch.Tensor:
    """Reorder the rows of queries and keys from RoPE halves to neighbouring pairs."""
    heads = {
        "q_proj": config.num_attention_heads,
        "k_proj": config.num_key_value_heads,
    }.get(name.split(".")[-2])
    if architecture not in INTERLEAVED_ROPE or heads is None:
        return tensor
    return tensor.view(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
