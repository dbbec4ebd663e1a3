"""A random Llama with the embedded model's tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from medtune.models import builtin


def write_tiny_llama(folder: Path, **shape: float) -> None:
    """Write one layer of 64 units in transformers' format, or another shape; always the same."""
    from transformers import LlamaConfig, LlamaForCausalLM

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(builtin.convert_once() / name, folder / name)
    settings = {
        "vocab_size": 49152,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
        **shape,
    }
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
