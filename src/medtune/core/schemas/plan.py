"""Records of a plan, which `--dry-run` prints, and of what jobs cost on a machine."""

from __future__ import annotations

from typing import Literal

from medtune.core.records import Record

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
    steps: tuple[PlannedStep, ...]
    seconds: float | None
    """Sum of the estimates; None if one is unknown."""
    error_factor: float
    """Factor by which the estimates may be wrong, up or down."""
    memory_bytes: int | None
    """Estimated peak memory; None if nothing is known about it."""
    memory_available_bytes: int
    notes: tuple[str, ...] = ()
