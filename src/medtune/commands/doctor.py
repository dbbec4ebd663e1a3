"""`medtune doctor`: what machine this is, and what will be slow on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import torch

from medtune.core.provenance import available_cores, cpu_name, provenance
from medtune.core.records import DoctorRecord
from medtune.models import builtin
from medtune.models.device import best_device, choose_dtype, fast_bfloat16
from medtune.models.sources import embedded_state, hub_offline

GIB = 1 << 30


def doctor() -> DoctorRecord:
    """Look at the machine."""
    device = best_device()
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    memory = psutil.virtual_memory()
    cache = builtin.cache_folder()
    state = embedded_state()
    free = shutil.disk_usage(_existing(cache)).free
    warnings = []
    if device.type == "cpu" and not fast_bfloat16(device):
        warnings.append(
            f"{cpu_name()} multiplies bfloat16 no faster than float32: training and scoring run "
            "in float32; a CPU that is faster in bfloat16 takes half the memory and less time"
        )
    if device.type == "cpu":
        warnings.append(
            "no GPU: models beyond 1-2 billion parameters are slow here; 135M scores about 25 "
            "short questions/s and trains about 9 examples/s on two recent cores"
        )
    if available_cores() < 2:
        warnings.append("one core: everything takes about twice as long as the README says")
    if memory.available < 4 * GIB:
        warnings.append(
            f"{memory.available / GIB:.1f} GiB of memory free; the quickstart peaks below 4 GiB"
        )
    if state.state != "ready" and free < 2 * GIB:
        warnings.append(f"{free / GIB:.1f} GiB free for {cache}; the embedded model needs 0.6 GiB")
    if state.state == "missing":
        warnings.append(f"{state.name} is not installed: {state.note}")
    if hub_offline():
        warnings.append("HF_HUB_OFFLINE is set: hub: names work only from the local cache")
    return DoctorRecord(
        provenance=provenance(gpu),
        fast_bfloat16=fast_bfloat16(device),
        dtype=str(choose_dtype("auto", device)).removeprefix("torch."),
        device=str(device),
        memory_bytes=memory.total,
        memory_available_bytes=memory.available,
        cache=str(cache),
        cache_free_bytes=free,
        models=(state,),
        hub_offline=hub_offline(),
        warnings=tuple(warnings),
    )


def _existing(path: Path) -> Path:
    """Find the nearest folder that exists: a cache not made yet lies on its parent's disk."""
    return next(place for place in [path, *path.parents] if place.exists())
