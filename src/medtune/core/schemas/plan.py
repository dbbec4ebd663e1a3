"""Records of a machine, of what jobs cost on it, and of a plan, which `--dry-run` prints."""

from __future__ import annotations

from typing import Literal

from medtune.core.records import ModelInfo, Provenance, Record

StepState = Literal["to do", "reused"]


class MachineSpeed(Record):
    """Speed of a CPU in the two kinds of work that a model is made of."""

    products: float
    """Matrix products at the model's shapes and dtype, in GFLOP/s."""
    elements: float
    """Operations on single elements, in 10^9 elements/s."""


class JobEstimate(Record):
    """Estimated cost of one job on this machine."""

    job: str
    seconds: float
    memory_bytes: int | None
    """Peak memory; None where it was never measured."""


class DoctorRecord(Record):
    """Report of `medtune doctor` on the machine and what will be slow on it."""

    kind: Literal["doctor"] = "doctor"
    provenance: Provenance
    fast_bfloat16: bool
    dtype: str
    """The precision that `auto` selects on this machine."""
    device: str
    memory_bytes: int
    memory_available_bytes: int
    cache: str
    cache_free_bytes: int
    models: tuple[ModelInfo, ...]
    hub_offline: bool
    warnings: tuple[str, ...]
    verdict: str
    """One sentence: ready, or what is missing and the command that installs it."""
    ready: bool
    """Whether everything is there that every job needs."""
    speed: MachineSpeed | None = None
    """None on an accelerator, where no job's cost was measured."""
    jobs: tuple[JobEstimate, ...] = ()
    """Estimated costs of usual jobs with the embedded model; none on an accelerator."""


class PlannedStep(Record):
    """One step of a plan."""

    name: str
    state: StepState
    """Whether it will be done, or an earlier result is reused."""
    count: int | None
    """Number of questions or examples; None if it is not known before the data are read."""
    unit: Literal["questions", "examples", "cells", "files"]
    seconds: float | None
    """Estimated; 0 if the step is reused, None if nothing is known about it."""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


class PlanRecord(Record):
    """What a command would do; nothing was written."""

    kind: Literal["plan"] = "plan"
    command: str
    folder: str
    """Folder that the command writes to."""
    steps: tuple[PlannedStep, ...]
    seconds: float | None
    """Sum of the estimates; None if one is unknown."""
    error_factor: float
    """Factor by which the estimates may be wrong, up or down."""
    memory_bytes: int | None
    """Estimated peak memory; None if nothing is known about it."""
    memory_available_bytes: int
    notes: tuple[str, ...] = ()
