"""Which device does the work, and in which precision."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from medtune.core.errors import ModelError
from medtune.core.provenance import cpu_flags


@dataclass(frozen=True, slots=True)
class PassSizes:
    """How much one forward pass takes at most."""

    rows: int
    scoring: int
    """Positions; on two cores larger passes were slower (docs/log.md)."""
    generation: int
    """Positions, prompts and answers together."""


ON_CPU = PassSizes(rows=64, scoring=1024, generation=8192)
ON_GPU = PassSizes(rows=512, scoring=16384, generation=65536)
"""Chosen to keep a card of 16 GiB busy with a model of 1.7B; not measured yet."""


def pass_sizes(device: torch.device) -> PassSizes:
    """Choose by what the device needs to be busy, and can hold."""
    return ON_CPU if device.type == "cpu" else ON_GPU


def best_device() -> torch.device:
    """Choose the accelerator if there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def bound_kernel_cache() -> None:
    """Keep oneDNN from keeping kernels for every length of a batch that it ever saw.

    Its 1,024 grow by half a gigabyte in two epochs of packed batches, and with 128 nothing is
    slower (docs/log.md).  It reads the variable at its first product; a user's own value stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def fast_bfloat16(device: torch.device) -> bool:
    """Tell whether bfloat16 products are faster than float32 there."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn a configured precision into a dtype.

    Raises:
        ModelError: float16 on a CPU, which has no fast path for it (measured 17 times slower
            than float32).
    """
    if name in ("auto", "nf4"):
        return torch.bfloat16 if fast_bfloat16(device) else torch.float32
    if name == "float16" and device.type == "cpu":
        raise ModelError(
            "float16 on a CPU is about 17 times slower than float32",
            fix="use --dtype auto: bfloat16 where the CPU multiplies it fast, else float32",
        )
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype
