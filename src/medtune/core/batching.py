"""Batches under a token budget: the one way in which medtune groups sequences of unlike length."""

from __future__ import annotations

import random
from collections.abc import Sequence


def within_budget(lengths: Sequence[int], budget: int, most: int) -> list[list[int]]:
    """Group sequences so that padding is small and no batch is larger than the budget.

    The longest come first, so that a batch that does not fit in memory fails at once.

    Args:
        lengths: Tokens in each sequence, `[sequence]`.
        budget: Most positions in a batch, padding included; a longer sequence travels alone.
        most: Most sequences in a batch.

    Returns:
        Indices into `lengths`, batch by batch; every index once.
    """
    batches: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = batches and len(batches[-1]) < most and (len(batches[-1]) + 1) * widest <= budget
        if fits:
            batches[-1].append(index)
        else:
            batches.append([index])
            widest = lengths[index]
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
