"""Batches of sequences of unequal length: under a token budget, or grouped by length."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence

FORWARD_PASS_COST = 24
"""Cost of one more forward pass (reading the weights), in positions; measured on two cores with a
model of 135 million weights."""


def batch_by_token_budget(
    lengths: Sequence[int], budget: int, max_batch: int, pass_cost: int = FORWARD_PASS_COST
) -> list[list[int]]:
    """Group sequences into batches with the least padding and the fewest passes.

    Sorted by length, they are cut where the sum of padding and the cost of another pass is
    smallest.  The longest come first, so that a batch that does not fit in memory fails at once.

    Args:
        lengths: Tokens in each sequence, `[sequence]`.
        budget: Most positions in a batch, padding included; a longer sequence is a batch alone.
        max_batch: Most sequences in a batch.
        pass_cost: Fixed cost of a batch, in positions.

    Returns:
        Indices into `lengths`, batch by batch; every index once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    costs = [0]  # lowest cost of the first n sequences
    cuts = [0]  # where the last batch of that solution begins
    for end in range(1, len(order) + 1):
        best, cut = costs[end - 1] + lengths[order[end - 1]] + pass_cost, end - 1
        for begin in range(end - 2, max(end - max_batch, 0) - 1, -1):
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


def group_epoch_by_length(
    lengths: Sequence[int], batch: int, rng: random.Random
) -> list[list[int]]:
    """Group one epoch into steps of `batch` examples of similar length, in random order.

    The examples are shuffled, then sorted by length within windows of 16 steps: a step has little
    padding, and its examples differ from epoch to epoch.

    Args:
        lengths: Tokens in each example, `[example]`.
        batch: Examples per optimizer step; the last step may have fewer.
        rng: Random generator of the shuffle.

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


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the length of the common prefix of two token sequences."""
    # Slices compare in C, which is faster than a loop over tokens.
    lengths = range(1, min(len(a), len(b)) + 1)
    return bisect_left(lengths, True, key=lambda length: a[:length] != b[:length])
