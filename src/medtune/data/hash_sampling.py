"""Drawing lots: who is chosen depends on seed and names alone, not on the machine or the order.

A question's lot is a hash.  A draw of 500 is part of the draw of 2000 with the same seed, and a
question that joins the data moves no other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence


def lot(seed: int, name: str) -> bytes:
    """Draw a question's lot: sha256 over seed and id; the lowest are taken first."""
    return hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogatepass")).digest()


def shares(total: int, weights: Mapping[str, float], most: Mapping[str, int]) -> dict[str, int]:
    """Share out a total in proportion to weights, by largest remainders.

    Args:
        total: How many to share out.
        weights: Per group, not negative.
        most: Per group how many it can take; what it can't goes to the others.

    Returns:
        Per group its share; they add up to `total`, or to all that can be taken.
    """
    given = dict.fromkeys(weights, 0)
    open_groups = [name for name in weights if most[name] > 0 and weights[name] > 0]
    left = min(total, sum(most[name] for name in open_groups))
    while left:
        whole = sum(weights[name] for name in open_groups)
        exact = {name: left * weights[name] / whole for name in open_groups}
        full = [n for n in open_groups if given[n] + exact[n] >= most[n]]
        if not full:
            for name, extra in _rounded(left, exact).items():
                given[name] += extra
            break
        for name in full:
            left -= most[name] - given[name]
            given[name] = most[name]
            open_groups.remove(name)
    return given


def _rounded(total: int, exact: Mapping[str, float]) -> dict[str, int]:
    """Round shares so that they still add up; ties go by name."""
    whole = {name: math.floor(value) for name, value in exact.items()}
    short = total - sum(whole.values())
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[:short]:
        whole[name] += 1
    return whole


def lowest(seed: int, names: Sequence[str]) -> list[int]:
    """Order places by the lots of their names."""
    return sorted(range(len(names)), key=lambda place: (lot(seed, names[place]), place))
