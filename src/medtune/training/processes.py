"""The processes among which a training is shared."""

from __future__ import annotations

import torch
from accelerate import PartialState


def on_cpu() -> bool:
    """Tell whether there is nothing but the CPU: accelerate must be told before it looks."""
    return not torch.accelerator.is_available()


def processes() -> PartialState:
    """Join the processes that `accelerate launch` or `torchrun` started; else there is one."""
    return PartialState(cpu=on_cpu())
