"""Collect the provenance of a result: versions, commit, machine, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from medtune._version import __version__
from medtune.core.records import Provenance

PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "scipy")


def collect_provenance(gpu: str | None = None) -> Provenance:
    """Collect the provenance of this process, with the name of the accelerator that it used."""
    return Provenance(
        medtune=__version__,
        commit=_commit(),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpu_name(),
        cores=available_cores(),
        gpu=gpu,
        packages={name: found for name in PACKAGES if (found := installed_version(name))},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


@cache
def installed_version(package: str) -> str | None:
    """Return a package's version; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def cpu_name() -> str:
    """Return the processor's name."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


@cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's instruction-set flags; empty if the system does not list them."""
    return frozenset((_cpu_field("flags") or _cpu_field("Features") or "").split())


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    import resource

    try:
        # ru_maxrss would include the peak of the parent process, inherited at fork.
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _cpu_field(name: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


@cache
def _commit() -> str | None:
    """Return the commit of the source tree that is running, if it runs from one."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    root = git("rev-parse", "--show-toplevel")
    # An installed copy may lie in another repository, whose commit is not medtune's.
    if root is None or not (Path(root) / "src" / "medtune").is_dir():
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git("status", "--porcelain", "-uno") else commit
