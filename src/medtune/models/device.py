"""Choose the device, the dtype and the size of forward passes."""

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
    """Largest sizes of one forward pass."""

    rows: int
    scoring: int
    """Token positions; on two cores larger passes were slower (docs/log.md)."""
    generation: int
    """Token positions of prompts and answers together."""


CPU_PASS_SIZES = PassSizes(rows=64, scoring=1024, generation=8192)
GPU_PASS_SIZES = PassSizes(rows=512, scoring=16384, generation=65536)
"""Estimated for a 1.7B model on a GPU of 16 GiB; not measured yet."""


def choose_pass_sizes(device: torch.device) -> PassSizes:
    """Return the largest sizes of a forward pass on a device."""
    return CPU_PASS_SIZES if device.type == "cpu" else GPU_PASS_SIZES


def choose_device() -> torch.device:
    """Return the accelerator if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def limit_kernel_cache() -> None:
    """Limit oneDNN's cache of compiled kernels to 128 entries.

    The default of 1,024 grows by half a gigabyte in two epochs of packed batches, and 128 is as
    fast (docs/log.md).  oneDNN reads the variable at its first product; a user's value is kept.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is about as fast as float32 on a device, or faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = device.type == "cpu" and bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    return has and measure_bfloat16_speedup() > MIN_BFLOAT16_SPEEDUP


MIN_BFLOAT16_SPEEDUP = 0.85
"""Smallest speed relative to fp32 at which bfloat16 is used, as it halves the memory.  Measured:
0.55 (an Intel server whose AMX is hidden from its guests), 1.8 (EPYC), 6 (AMX)."""


@cache
def measure_bfloat16_speedup() -> float:
    """Measure the speed of bfloat16 products relative to float32 on this CPU, in about 50 ms.

    CPU flags are not enough: on some CPUs the bfloat16 instructions are slower than fp32.
    """
    return _time_matmuls(torch.float32) / _time_matmuls(torch.bfloat16)


@torch.inference_mode()
def _time_matmuls(dtype: torch.dtype) -> float:
    """Return the shortest time of a few matrix products of a small model's shape, in seconds.

    It is one thread's own time: on a busy machine the time by the clock would say by chance which
    precision a run has, and a finished run would be run again in the other one.
    """
    a, b = torch.ones(512, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    times = []
    with single_threaded():
        for _ in range(6):
            start = time.thread_time()
            torch.mm(a, b)
            times.append(time.thread_time() - start)
    return min(times)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve a configured precision to a torch dtype.

    Raises:
        ModelError: float16 on a CPU, which has no fast path for it (measured 17 times slower
            than float32).
    """
    if name in ("auto", "nf4"):
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    if name == "float16" and device.type == "cpu":
        raise ModelError(
            "float16 on a CPU is about 17 times slower than float32",
            fix="use --dtype auto: bfloat16 where the CPU multiplies it fast, else float32",
        )
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def precision_name(dtype: str, device: torch.device) -> str:
    """Return the name of the precision in which a configured dtype holds the weights."""
    return dtype if dtype == "nf4" else str(choose_dtype(dtype, device)).removeprefix("torch.")


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run this thread without OpenMP workers, so that it does not compete with another one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
