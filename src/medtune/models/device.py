"""Which device does the work, and in which precision."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

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
    """Tell whether bfloat16 products are at least about as fast as float32 there."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = device.type == "cpu" and bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    return has and bfloat16_gain() > WORTH_IT


WORTH_IT = 0.85
"""Of fp32's speed: half the memory makes up for a little less.  Machines lie far from it: 0.55
(an Intel server whose AMX is hidden from its guests), 1.8 (EPYC), 6 (AMX)."""


@cache
def bfloat16_gain() -> float:
    """Measure how much faster this CPU multiplies bfloat16 than float32, in some 50 ms.

    That it has the instructions says little: some take longer over them than over fp32.
    """
    return _product_time(torch.float32) / _product_time(torch.bfloat16)


@torch.inference_mode()
def _product_time(dtype: torch.dtype) -> float:
    """Return the least time of some products of a small model's shape, s."""
    a, b = torch.ones(512, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return min(times)


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


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let this thread compute alone: no helpers of OpenMP's beside those of another one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
