"""Load layers in 4 bits with bitsandbytes (QLoRA, Dettmers et al. 2023, arXiv 2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from medtune.core.errors import ModelError
from medtune.models.device import choose_dtype

NF4 = "nf4"
"""4-bit NormalFloat: 16 values, spaced as the quantiles of a normal distribution (section 3)."""


def build_nf4_arguments(device: torch.device) -> dict[str, Any]:
    """Return the arguments with which `from_pretrained` loads dense layers in NF4.

    Scales are quantized as well, and products are computed in the precision of `auto`.

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


def keep_trainable_layout(network: Any) -> Any:
    """Keep 4-bit layers on a CPU in the layout that supports training.

    At the first evaluation bitsandbytes would repack them for its inference kernel, which has no
    backward pass.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return network


def is_loaded_in_4bit(network: Any) -> bool:
    """Return whether a model was loaded in 4 bits."""
    return bool(getattr(network, "is_loaded_in_4bit", False))
