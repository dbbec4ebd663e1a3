"""PriDe: estimate the position bias of a model and remove it from its answers.

Zheng et al. 2023, "Large Language Models Are Not Robust Multiple Choice Selectors",
arXiv 2309.03882, section 4.2: an observed probability is modelled as the product of a prior of
the position and a probability of the content.  Over all cyclic orders every content is in every
position once, so that the mean log-probability by position contains only the prior.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence


def estimate_prior(tables: Sequence[Sequence[Sequence[float]]]) -> tuple[float, ...]:
    """Estimate the probability that a model gives to each position before reading the options.

    Args:
        tables: `[question][rotation][position]`, the log-probability (nats) of each displayed
            position in each of the k cyclic orders of k options; k is the same for all
            questions.  A constant added to a whole rotation has no effect.

    Returns:
        `[position]`, positive and adding up to 1: the mean of the questions' priors.

    Raises:
        ValueError: No question, or a table that is not k by k.
    """
    if not tables:
        raise ValueError("a prior of no question has no value")
    k = len(tables[0])
    if not k or any(len(table) != k or any(len(row) != k for row in table) for table in tables):
        raise ValueError("every question needs k rotations of k positions, with one k for all")
    priors = [
        _softmax([math.fsum(column) / k for column in zip(*table, strict=True)]) for table in tables
    ]
    means = [math.fsum(column) / len(priors) for column in zip(*priors, strict=True)]
    # Avoid a prior of 0, by which remove_prior would divide.
    floored = [max(mean, sys.float_info.min) for mean in means]
    total = math.fsum(floored)
    return tuple(mean / total for mean in floored)


def remove_prior(logprobs: Sequence[float], prior: Sequence[float]) -> tuple[float, ...]:
    """Remove a position prior from the log-probabilities observed in one order.

    Args:
        logprobs: Log-probability (nats) of each displayed position, up to a common constant.
        prior: Probability of each position, all positive.

    Returns:
        `[position]`, proportional to observed / prior and adding up to 1.

    Raises:
        ValueError: They differ in length, or the prior holds a 0.
    """
    if len(logprobs) != len(prior):
        raise ValueError(
            f"{len(logprobs)} log-probabilities, but a prior of {len(prior)} positions"
        )
    if min(prior) <= 0:
        raise ValueError("a prior of 0 cannot be divided by")
    return _softmax([log - math.log(share) for log, share in zip(logprobs, prior, strict=True)])


def _softmax(values: Sequence[float]) -> tuple[float, ...]:
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)
