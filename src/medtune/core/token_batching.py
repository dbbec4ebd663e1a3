"""Batches under a token budget: the one way in which medtune groups sequences of unlike length."""

from __future__ import annotations

import random
from collections.abc import Sequence

PASS_COST = 24
"""Positions; what reading the weights for one more forward pass costs (two cores, 135M)."""


def within_budget(
    lengths: Sequence[int], budget: int, most: int, pass_cost: int = PASS_COST
) -> list[list[int]]:
    """Group sequences so that the least is computed in vain.

    Sorted by length, they are cut where padding and the cost of another pass are smallest
    together.  The longest come first, so that a batch that does not fit in memory fails at once.

    Args:
        lengths: Tokens in each sequence, `[sequence]`.
        budget: Most positions in a batch, padding included; a longer sequence travels alone.
        most: Most sequences in a batch.
        pass_cost: What a batch costs beyond its positions, in positions.

    Returns:
        Indices into `lengths`, batch by batch; every index once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    costs = [0]  # of the first n sequences, cut in the best way
    cuts = [0]  # where its last batch begins
    for end in range(1, len(order) + 1):
        best, cut = costs[end - 1] + lengths[order[end - 1]] + pass_cost, end - 1
        for begin in range(end - 2, max(end - most, 0) - 1, -1):
            positions = (end - begin) * lengths[order[begin]]
            if positions > budget:
                break
            if (cost := costs[begin] + positions + pass_cost) < best:
                best, cut = cost, begin
        costs.append(best)
        cuts.append(cut)
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.insert(0, order[cuts[end] : end])
        end = cuts[end]
    return batches


def epoch_order(lengths: Sequence[int], batch: int, rng: random.Random) -> list[list[int]]:
    """Cut one epoch into steps of `batch` examples of similar length, in random order.

    Shuffled first, then sorted by length within windows of 16 steps: neighbours in length are
    drawn anew each epoch, and a step has little padding.

    Args:
        lengths: Tokens in each example, `[example]`.
        batch: Examples per optimizer step; the last step may have fewer.
        rng: Source of the shuffle.

    Returns:
        Indices into `lengths`, step by step; every index once.
    """
    order = list(range(len(lengths)))
    rng.shuffle(order)
    window = 16 * batch
    steps: list[list[int]] = []
    for start in range(0, len(order), window):
        bucket = sorted(order[start : start + window], key=lambda i: lengths[i])
        steps += [bucket[at : at + batch] for at in range(0, len(bucket), batch)]
    rng.shuffle(steps)
    return steps


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the tokens with which two sequences both begin."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # slices compare in C: a dozen of them beat a loop over tokens
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
