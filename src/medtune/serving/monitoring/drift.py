"""Measure drift between two samples by the population stability index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2

from medtune.serving.monitoring.schema import DriftBin, Feature, FeatureDrift

MAX_BINS = 10
MIN_COUNT = 5
"""Categories that occur less often in both samples together are pooled."""
_PSEUDOCOUNT = 0.5
"""Added to every count, so that an empty bin has a finite logarithm."""


def numeric_drift(
    feature: Feature, reference: Sequence[float], present: Sequence[float]
) -> FeatureDrift:
    """Compare numeric samples over quantile bins of the reference; ties share a bin."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, MAX_BINS + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        for values in (reference, present)
    ]
    bounds = [f"{edge:.3g}" for edge in edges]
    names = [
        f"at most {high}" if low is None else f"above {low}" if high is None else f"{low} to {high}"
        for low, high in zip([None, *bounds], [*bounds, None], strict=True)
    ]
    return _stability_index(feature, names, counts[0].tolist(), counts[1].tolist())


def categorical_drift(
    feature: Feature, reference: Sequence[str], present: Sequence[str]
) -> FeatureDrift:
    """Compare categorical samples; rare categories are pooled."""
    both = Counter(reference) + Counter(present)
    names = sorted(name for name, count in both.items() if count >= MIN_COUNT)
    rest = [name for name in both if name not in names]
    before, after = Counter(reference), Counter(present)
    rows = [[count[name] for name in names] for count in (before, after)]
    if rest:
        names.append("others")
        for row, count in zip(rows, (before, after), strict=True):
            row.append(sum(count[name] for name in rest))
    return _stability_index(feature, names, *rows)


def _stability_index(
    feature: Feature, names: Sequence[str], reference: Sequence[int], present: Sequence[int]
) -> FeatureDrift:
    """Return the population stability index, the sum of (q - p) ln(q / p) over bins.

    Without drift, it is distributed as (1/n + 1/m) times chi-squared with one degree of freedom
    less than there are bins (Yurdakul 2018, Statistical properties of population stability index,
    3.2).
    """
    a, b = np.array(reference, float), np.array(present, float)
    n, m = int(a.sum()), int(b.sum())
    p, q = (
        (a + _PSEUDOCOUNT) / (n + _PSEUDOCOUNT * len(a)),
        (b + _PSEUDOCOUNT) / (m + _PSEUDOCOUNT * len(b)),
    )
    psi = float(((q - p) * np.log(q / p)).sum())
    tail = chi2.sf(psi / (1 / n + 1 / m), len(a) - 1) if len(a) > 1 else 1.0
    return FeatureDrift(
        feature=feature,
        psi=psi,
        p_value=float(tail),
        bins=tuple(
            DriftBin(name=name, reference=x / n, present=y / m)
            for name, x, y in zip(names, a, b, strict=True)
        ),
        n_reference=n,
        n=m,
    )
