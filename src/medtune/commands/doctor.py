"""Inspect this machine (`medtune doctor`): what is missing or slow, and how long jobs take."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from medtune.core.errors import CheckFailed
from medtune.core.provenance import available_cores, collect_provenance, cpu_name, installed_version
from medtune.core.schemas.plan import DoctorRecord
from medtune.hub.hub_errors import is_hub_offline
from medtune.models import builtin
from medtune.models.memory import GIB, available_memory
from medtune.models.sources import describe_builtin_model
from medtune.workflows.job_costs import estimate_usual_jobs, measure_speed

MIN_DISK_BYTES = GIB // 5
"""Least free disk of the cache, in which the embedded model is converted."""
MIN_MEMORY_BYTES = 2 * GIB
"""Least memory in which a small model answers."""


def inspect_machine() -> DoctorRecord:
    """Inspect packages, CPU, GPU, memory, disk and the embedded model.

    Raises:
        CheckFailed: A package is missing that every job needs.
    """
    if missing := list(find_missing_packages()):
        raise CheckFailed(
            f"not ready: {', '.join(missing)} not installed, which every job needs",
            fix=f"pip install {' '.join(missing)}",
        )
    # These import torch, which may be what is missing.
    import torch

    from medtune.models.device import choose_device, choose_dtype, has_fast_bfloat16

    device = choose_device()
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    total, free_memory = psutil.virtual_memory().total, available_memory()
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
            "no GPU: models beyond 1-2 billion parameters are slow here; costs grow with the "
            "parameters"
        )
    if available_cores() < 2:
        warnings.append("one core: everything takes about twice as long as the README says")
    if free_memory < 5 * GIB:
        warnings.append(
            f"{free_memory / GIB:.1f} GiB of memory free; the quickstart peaks below 5 GiB"
        )
    if state.state != "ready" and free < 2 * GIB:
        warnings.append(f"{free / GIB:.1f} GiB free for {cache}; the embedded model needs 0.6 GiB")
    if state.state == "missing":
        warnings.append(f"{state.name} is not installed: {state.note}")
    if is_hub_offline():
        warnings.append("HF_HUB_OFFLINE is set: hub: names work only from the local cache")
    dtype = choose_dtype("auto", device)
    speed = measure_speed()
    faults = list(_find_faults(cache, free, total))
    return DoctorRecord(
        verdict=_judge(faults, state.name if state.state == "missing" else None, state.note),
        ready=not faults,
        speed=speed,
        jobs=estimate_usual_jobs(speed, dtype.itemsize) if speed is not None else (),
        provenance=collect_provenance(gpu),
        fast_bfloat16=has_fast_bfloat16(device),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        memory_bytes=total,
        memory_available_bytes=free_memory,
        cache=str(cache),
        cache_free_bytes=free,
        models=(state,),
        hub_offline=is_hub_offline(),
        warnings=tuple(warnings),
    )


def find_missing_packages() -> Iterator[str]:
    """Yield the packages of a plain install that are not installed."""
    for requirement in importlib.metadata.requires("medtune") or ():
        if "extra ==" not in requirement:
            name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            if installed_version(name) is None:
                yield name


def _find_faults(cache: Path, free: int, memory: int) -> Iterator[str]:
    """Yield what keeps every job from running, each with its remedy."""
    place = _nearest_existing_folder(cache)
    if not os.access(place, os.W_OK):
        yield f"{place} cannot be written: export MEDTUNE_CACHE=FOLDER"
    elif free < MIN_DISK_BYTES:
        yield f"{free / GIB:.1f} GiB free in {place}: export MEDTUNE_CACHE=FOLDER on another disk"
    if memory < MIN_MEMORY_BYTES:
        yield f"{memory / GIB:.1f} GiB of memory, where the smallest model needs 2"


def _judge(faults: list[str], missing: str | None, remedy: str) -> str:
    """Return the verdict in one sentence."""
    if faults:
        return f"Not ready: {'; '.join(faults)}."
    if missing is not None:
        return f"Ready for models of your own; {missing} is missing: {remedy}"
    return "Ready: everything that a job needs is here."


def _nearest_existing_folder(path: Path) -> Path:
    """Return the nearest existing parent folder, whose disk a missing cache will use."""
    return next(place for place in [path, *path.parents] if place.exists())
