"""Compute learning-rate schedules."""

from __future__ import annotations

import math
from typing import Literal


def compute_lr_factor(
    step: int, total: int, warmup: int, shape: Literal["linear", "cosine", "constant"]
) -> float:
    """Return the factor of the learning rate at one step.

    Args:
        step: Step number from 0.
        total: Steps of the whole run.
        warmup: Steps of linear warmup; the first has 1 / warmup of the full rate.
        shape: Decay after the warmup: to 0 linearly, to 0 along half a cosine, or none.

    Returns:
        A factor between 0 and 1.
    """
    if step < warmup:
        return (step + 1) / warmup
    if shape == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 1.0 - progress if shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
