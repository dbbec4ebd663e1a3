"""Inspect this machine (`medtune doctor`) and warn of what will be slow."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import torch

from medtune.core.provenance import available_cores, collect_provenance, cpu_name
from medtune.core.records import DoctorRecord
from medtune.hub.hub_errors import is_hub_offline
from medtune.models import builtin
from medtune.models.device import choose_device, choose_dtype, has_fast_bfloat16
from medtune.models.sources import describe_builtin_model

GIB = 1 << 30


def inspect_machine() -> DoctorRecord:
    """Inspect CPU, GPU, memory, disk and the embedded model."""
    device = choose_device()
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    memory = psutil.virtual_memory()
    cache = builtin.cache_folder()
    state = describe_builtin_model()
    free = shutil.disk_usage(_nearest_existing_folder(cache)).free
    warnings = []
    if device.type == "cpu" and not has_fast_bfloat16(device):
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
    if is_hub_offline():
        warnings.append("HF_HUB_OFFLINE is set: hub: names work only from the local cache")
    return DoctorRecord(
        provenance=collect_provenance(gpu),
        fast_bfloat16=has_fast_bfloat16(device),
        dtype=str(choose_dtype("auto", device)).removeprefix("torch."),
        device=str(device),
        memory_bytes=memory.total,
        memory_available_bytes=memory.available,
        cache=str(cache),
        cache_free_bytes=free,
        models=(state,),
        hub_offline=is_hub_offline(),
        warnings=tuple(warnings),
    )


def _nearest_existing_folder(path: Path) -> Path:
    """Return the nearest existing parent folder, whose disk a missing cache will use."""
    return next(place for place in [path, *path.parents] if place.exists())
