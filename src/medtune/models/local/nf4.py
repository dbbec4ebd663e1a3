"""Layers kept in 4 bits, by bitsandbytes (QLoRA, Dettmers et al. 2023, arXiv 2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from medtune.core.errors import ModelError
from medtune.models.device import choose_dtype

NF4 = "nf4"
"""4-bit NormalFloat: 16 values, spaced as the quantiles of a normal distribution (section 3)."""


def four_bits(device: torch.device) -> dict[str, Any]:
    """Return what makes `from_pretrained` load dense layers in 4 bits.

    Their scales are quantized as well, and they compute in the precision that `auto` chooses.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            "dtype nf4 needs bitsandbytes, which is not installed",
            fix="pip install 'medtune[nf4]'",
        )
    from transformers import BitsAndBytesConfig

    dtype = choose_dtype(NF4, device)
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=NF4,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def keep_unpacked(network: Any) -> Any:
    """Keep layers on a CPU in the layout that can be trained through.

    At the first examination bitsandbytes would repack them for its inference kernel, which passes
    no gradients on.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return network


def is_four_bits(network: Any) -> bool:
    """Tell whether a model was loaded in 4 bits."""
    return bool(getattr(network, "is_loaded_in_4bit", False))
