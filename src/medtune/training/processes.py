"""Join the processes of a distributed training."""

from __future__ import annotations

import torch
from accelerate import PartialState


def is_cpu_only() -> bool:
    """Return whether there is only a CPU: accelerate must be told before it detects devices."""
    return not torch.accelerator.is_available()


def join_processes() -> PartialState:
    """Join the processes that `accelerate launch` or `torchrun` started, if any."""
    return PartialState(cpu=is_cpu_only())
