"""Measure the agreement of two reviewers beyond chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import partial
from statistics import NormalDist
from typing import TypeVar

from medtune.core.intervals import wilson_interval
from medtune.core.schemas.analysis import Agreement

C = TypeVar("C", bound=Hashable)

Z_95 = NormalDist().inv_cdf(0.975)


def cohen_kappa(a: str, b: str, pairs: Sequence[tuple[Hashable, Hashable]]) -> Agreement:
    """Estimate Cohen's kappa, unweighted, with its 95 % interval.

    Cohen 1960, Educational and Psychological Measurement 20:37; the large-sample error is that of
    Fleiss, Cohen and Everitt 1969, Psychological Bulletin 72:323, equation 13. At full agreement
    that error is 0 for any n: the lower bound is then computed from the Wilson bound of the
    observed agreement, with the agreement by chance taken as known.

    The pairs are the categories that reviewers a and b gave each item that both marked.

    Returns:
        The agreement; where kappa is not defined, None with a reason.
    """
    n = len(pairs)
    agreement = partial(Agreement, a=a, b=b, n=n)
    if not n:
        reason = "no item was marked by both reviewers"
        return agreement(observed=None, expected=None, kappa=None, reason=reason)
    same = sum(x == y for x, y in pairs)
    observed = wilson_interval(same, n)
    first, second = _category_shares([x for x, _ in pairs]), _category_shares([y for _, y in pairs])
    expected = math.fsum(first[c] * second.get(c, 0.0) for c in first)
    if len(first) == 1 and first.keys() == second.keys():
        reason = "both reviewers used one category only: agreement by chance is complete"
        return agreement(observed=observed, expected=1.0, kappa=None, reason=reason)
    kappa = (observed.value - expected) / (1 - expected)
    if same == n:
        low, high = (observed.low - expected) / (1 - expected), 1.0
    else:
        spread = Z_95 * kappa_standard_error(pairs)
        low, high = kappa - spread, kappa + spread
    return agreement(
        observed=observed,
        expected=min(expected, 1.0),
        kappa=kappa,
        low=max(-1.0, low),
        high=min(1.0, high),
    )


def kappa_standard_error(pairs: Sequence[tuple[Hashable, Hashable]]) -> float:
    """Estimate kappa's large-sample standard error, for an interval (not for a test of 0)."""
    n = len(pairs)
    first, second = _category_shares([x for x, _ in pairs]), _category_shares([y for _, y in pairs])
    joint = _category_shares(pairs)
    observed = math.fsum(share for (x, y), share in joint.items() if x == y)
    expected = math.fsum(first[c] * second.get(c, 0.0) for c in first)
    # Fleiss, Levin and Paik 2003, equations 18.15 to 18.17: a numerically more stable form.
    kappa = (observed - expected) / (1 - expected)
    agree = math.fsum(
        share * (1 - (first[x] + second[x]) * (1 - kappa)) ** 2
        for (x, y), share in joint.items()
        if x == y
    )
    differ = (1 - kappa) ** 2 * math.fsum(
        share * (second.get(x, 0.0) + first.get(y, 0.0)) ** 2
        for (x, y), share in joint.items()
        if x != y
    )
    chance = (kappa - expected * (1 - kappa)) ** 2
    return math.sqrt(max(0.0, agree + differ - chance) / n) / (1 - expected)


def _category_shares(categories: Sequence[C]) -> dict[C, float]:
    return {category: count / len(categories) for category, count in Counter(categories).items()}
