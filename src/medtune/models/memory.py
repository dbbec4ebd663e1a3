"""Check before a model is loaded whether its weights fit into memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import psutil

from medtune.core.errors import ModelError

FULL_TRAINING = "full fine-tuning"
BYTES_PER_WEIGHT = {
    FULL_TRAINING: 16.0,  # master weight, gradient and two moments, in float32
    "float32": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "nf4": 0.6,
    "int8": 1.2,
    "int8-dynamic": 1.0,
    "gguf-q8_0": 1.1,
    "gguf-q6_k": 0.83,
    "gguf-q5_1": 0.76,
    "gguf-q5_k_m": 0.72,
    "gguf-q4_1": 0.64,
    "gguf-q4_k_m": 0.62,
}
"""Bytes in memory per weight, embeddings included, by dtype or quantization scheme, or in full
fine-tuning."""
SMALLER_DTYPES = ("bfloat16", "nf4")
SMALLER_SCHEMES = ("int8", "gguf-q4_k_m")
"""What an error proposes, of those that fit."""
CGROUP = Path("/sys/fs/cgroup")
"""Where a container finds the limit of its memory (cgroups, version 2)."""
MAX_HEADER_BYTES = 100_000_000
"""Largest header that safetensors allows."""
GIB = 1 << 30


def check_memory(
    name: str, parameters: int, precision: str, device: str, size: float | None = None
) -> None:
    """Check that the weights of a model fit into the memory that is free.

    Args:
        name: Name of the model.
        parameters: Number of its weights.
        precision: A key of `BYTES_PER_WEIGHT`.
        device: Type of the device they are loaded to.
        size: Bytes of the weights, where they are known; else estimated from the precision.

    Raises:
        ModelError: They do not fit; it names the precisions that would.
    """
    if size is None:
        size = parameters * BYTES_PER_WEIGHT[precision]
    free = available_memory(device)
    if size <= free:
        return

    ways = []
    if precision == FULL_TRAINING:
        ways.append('training.method = "lora"')
    else:
        dtypes, schemes = (
            " or ".join(
                f"{other} ({needed / GIB:.1f} GiB)"
                for other in names
                if (needed := parameters * BYTES_PER_WEIGHT[other]) < min(size, free)
            )
            for names in (SMALLER_DTYPES, SMALLER_SCHEMES)
        )
        if dtypes:
            ways.append(f"dtype {dtypes}")
        if schemes:
            ways.append(f"a file that `medtune compress` made on a larger machine: {schemes}")
    ways += ["a smaller model", "a model on a server, remote:URL"]
    raise ModelError(
        f"{name} takes {size / GIB:.1f} GiB for its {parameters / 1e6:,.0f} million weights "
        f"({precision}), and {free / GIB:.1f} GiB of memory are free",
        expected="weights that fit into memory; it was not loaded",
        fix="; or ".join(ways),
    )


def available_memory(device: str = "cpu") -> int:
    """Return the bytes of memory that are free on a device, swap included.

    In a container they are at most what its limit leaves, where cached files count as free.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    free = int(psutil.virtual_memory().available + psutil.swap_memory().free)
    try:
        limit, used = (int((CGROUP / f"memory.{part}").read_text()) for part in ("max", "current"))
        lines = (CGROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no container, or one whose limit is "max"
        return free
    counts = dict(line.split() for line in lines)
    cached = sum(int(counts.get(name, 0)) for name in ("active_file", "inactive_file"))
    return max(0, min(free, limit - used + cached))


def count_parameters(folder: Path, files: Iterable[Path]) -> int:
    """Count the parameters of a model by the headers of its files; a tied head counts once.

    Args:
        folder: Folder with its config.json.
        files: safetensors files.
    """
    tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", False)
    count = 0
    for file in files:
        with file.open("rb") as handle:
            size = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(min(size, MAX_HEADER_BYTES)))
        for name, tensor in header.items():
            if name != "__metadata__" and not (tied and name == "lm_head.weight"):
                count += math.prod(tensor["shape"])
    return count
