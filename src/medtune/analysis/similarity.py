"""Break accuracy down by similarity to the nearest passage of an index."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medtune.analysis.calibration import equal_mass_bins
from medtune.core.intervals import wilson_interval
from medtune.core.records import Outcome, Prediction, Proportion
from medtune.core.schemas.analysis import SimilarityBin, SimilarityReport

SIMILARITY_BINS = 10


def measure_by_similarity(predictions: Sequence[Prediction]) -> SimilarityReport | None:
    """Measure the accuracy in bins of equal size by similarity, the least similar first.

    Equal similarities share a bin, so there may be fewer than `SIMILARITY_BINS`.

    Returns:
        The report; None where a prediction has no similarity, as without an index.
    """
    values = np.array([math.nan if p.similarity is None else p.similarity for p in predictions])
    if not len(values) or np.isnan(values).any():
        return None
    right = np.array([p.outcome is Outcome.CORRECT for p in predictions])
    places = equal_mass_bins(values, SIMILARITY_BINS)
    bins = []
    for place in range(int(places.max()) + 1):
        some = places == place
        bins.append(
            SimilarityBin(
                low=float(values[some].min()),
                high=float(values[some].max()),
                mean=math.fsum(values[some]) / int(some.sum()),
                accuracy=wilson_interval(int(right[some].sum()), int(some.sum())),
            )
        )
    return SimilarityReport(
        bins=tuple(bins), less_similar=accuracy_without_most_similar(predictions)
    )


def accuracy_without_most_similar(predictions: Sequence[Prediction]) -> Proportion | None:
    """Return the accuracy without the tenth of the questions that are most similar to a passage.

    The tenth is rounded up.  Equal similarities are ordered by id, so that the order of the
    questions does not matter.

    Returns:
        The accuracy; None if no question is left.
    """
    order = sorted(predictions, key=lambda p: (p.similarity or 0.0, p.id))
    rest = order[: len(order) - math.ceil(len(order) / 10)]
    right = sum(p.outcome is Outcome.CORRECT for p in rest)
    return wilson_interval(right, len(rest)) if rest else None
