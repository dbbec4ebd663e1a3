"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import Literal


def rate_factor(
    step: int, total: int, warmup: int, shape: Literal["linear", "cosine", "constant"]
) -> float:
    """Scale the learning rate of one step.

    Args:
        step: 0-based.
        total: Steps of the whole run.
        warmup: Steps of linear rise; the first has 1 / warmup of the full rate.
        shape: How it falls afterwards: to 0 along a line or half a cosine, or not at all.

    Returns:
        A factor between 0 and 1.
    """
    if step < warmup:
        return (step + 1) / warmup
    if shape == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 1.0 - progress if shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
