"""Sampling by hash: the sample depends on seed and ids only, not on machine or order.

Questions are ordered by a hash of seed and id.  A sample of 500 is a subset of the sample of 2000
with the same seed, and an added question does not change the order of the others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence


def sampling_hash(seed: int, name: str) -> bytes:
    """Return the sha256 of seed and id; the questions with the lowest hashes are sampled first."""
    return hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogatepass")).digest()


def allocate_proportionally(
    total: int, weights: Mapping[str, float], capacities: Mapping[str, int]
) -> dict[str, int]:
    """Allocate a total to groups in proportion to weights, by the largest-remainder method.

    Args:
        total: Number of items to allocate.
        weights: Non-negative weight of each group.
        capacities: Capacity of each group; the excess goes to the other groups.

    Returns:
        The share of each group; the shares add up to `total`, or to the total capacity.
    """
    given = dict.fromkeys(weights, 0)
    open_groups = [name for name in weights if capacities[name] > 0 and weights[name] > 0]
    left = min(total, sum(capacities[name] for name in open_groups))
    while left:
        whole = sum(weights[name] for name in open_groups)
        exact = {name: left * weights[name] / whole for name in open_groups}
        full = [n for n in open_groups if given[n] + exact[n] >= capacities[n]]
        if not full:
            for name, extra in _round_shares(left, exact).items():
                given[name] += extra
            break
        for name in full:
            left -= capacities[name] - given[name]
            given[name] = capacities[name]
            open_groups.remove(name)
    return given


def _round_shares(total: int, exact: Mapping[str, float]) -> dict[str, int]:
    """Round shares so that they add up to the total; ties are broken by name."""
    whole = {name: math.floor(value) for name, value in exact.items()}
    short = total - sum(whole.values())
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[:short]:
        whole[name] += 1
    return whole


def order_by_hash(seed: int, names: Sequence[str]) -> list[int]:
    """Return the indices of the names, ordered by their hashes."""
    return sorted(range(len(names)), key=lambda place: (sampling_hash(seed, names[place]), place))
