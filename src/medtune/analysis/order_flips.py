"""Measure the effect of the order of options on the answers of an evaluation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, pstdev

from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.records import LETTERS, OrderAnswer, Prediction
from medtune.core.schemas.analysis import Flips

PositionCounts = Counter[int]
"""Counts by displayed position."""
AskedInOrders = tuple[Prediction, tuple[OrderAnswer, ...]]


def choice_in_given_order(prediction: Prediction) -> int | None:
    """Return the choice with the options in their given order, which baselines use."""
    return prediction.orders[0].chosen if prediction.orders else prediction.chosen


def measure_order_flips(predictions: Sequence[Prediction]) -> Flips | None:
    """Measure how often the order of the options changes the choice.

    If questions differ in their number of options, letters are counted over all of them, but the
    deviation of the recalls is computed among questions of one size and averaged over questions:
    a low recall of letters that only longer, harder questions have is no preference.

    Returns:
        The flips; None if the options were shown in one order only.

    Raises:
        PredictionsError: Some predictions hold several orders and others do not.
    """
    asked = [(p, p.orders) for p in predictions if p.orders is not None]
    if not asked:
        return None
    if len(asked) < len(predictions):
        raise PredictionsError(
            f"{len(asked)} of {len(predictions)} predictions hold several orders of the options",
            expected="all of them, or none",
            fix="evaluate again with --orders cyclic",
        )
    changed = [_share_of_differing_pairs(orders) for _, orders in asked]
    chosen = Counter(one.order.index(one.chosen) for _, orders in asked for one in orders)
    shown, right = _count_recalls(asked)
    sizes: dict[int, list[AskedInOrders]] = defaultdict(list)
    for prediction, orders in asked:
        sizes[len(prediction.options)].append((prediction, orders))
    deviations: list[float] = []
    for group in sizes.values():
        group_shown, group_right = _count_recalls(group)
        if len(group_shown) > 1:
            recalls = [group_right[place] / group_shown[place] for place in sorted(group_shown)]
            deviations += [pstdev(recalls)] * len(group)
    most = max(len(orders) for _, orders in asked)
    # Later rotations lack the questions with fewer options.
    rotations = [
        [orders[rotation].chosen == p.answer for p, orders in asked if rotation < len(orders)]
        for rotation in range(most)
    ]
    return Flips(
        orders=most,
        any=wilson_interval(sum(share > 0 for share in changed), len(changed)),
        pairs=fmean(changed),
        accuracy=tuple(wilson_interval(sum(hits), len(hits)) for hits in rotations),
        letters={LETTERS[place]: chosen[place] for place in sorted(chosen)},
        recalls={
            LETTERS[place]: wilson_interval(right[place], shown[place]) for place in sorted(shown)
        },
        rstd=fmean(deviations) if deviations else None,
    )


def _share_of_differing_pairs(orders: Sequence[OrderAnswer]) -> float:
    """Return the share of pairs of orders whose choices differ; 0 for a single order."""
    pairs = list(combinations([answer.chosen for answer in orders], 2))
    return sum(a != b for a, b in pairs) / len(pairs) if pairs else 0.0


def _count_recalls(asked: Sequence[AskedInOrders]) -> tuple[PositionCounts, PositionCounts]:
    """Count by displayed position, over all orders, the right option and its recalls."""
    shown, right = PositionCounts(), PositionCounts()
    for prediction, orders in asked:
        for answer in orders:
            place = answer.order.index(prediction.answer)
            shown[place] += 1
            right[place] += answer.chosen == prediction.answer
    return shown, right
