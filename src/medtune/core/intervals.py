"""Intervals for proportions."""

from __future__ import annotations

import math
from statistics import NormalDist

from medtune.core.records import Proportion


def wilson(successes: int, n: int, confidence: float = 0.95) -> Proportion:
    """Estimate a proportion with its Wilson score interval (Wilson 1927).

    Args:
        successes: How often it happened, 0 to n.
        n: Out of how many.
        confidence: Two-sided coverage.

    Raises:
        ValueError: n is 0 (the mean of nothing is not 0), or successes lie outside 0 to n.
    """
    if n <= 0:
        raise ValueError("a proportion of nothing has no value")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n the bound is p itself; rounding must not push it past.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return Proportion(value=p, low=low, high=high, n=n)
