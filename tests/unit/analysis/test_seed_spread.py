from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy import stats
from tests.unit.reports.test_run import evaluation, questions

from medtune.analysis.seed_spread import aggregate_seeds
from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import Evaluation

ASKED = questions(40)


def tuned(*rights: int) -> list[Evaluation]:
    return [evaluation(f"tuned, seed {i}", ASKED, right) for i, right in enumerate(rights)]


def test_mean_spread_and_both_intervals_are_scipys() -> None:
    found = aggregate_seeds(evaluation("base", ASKED, 10), tuned(20, 24, 28))
    values = [0.5, 0.6, 0.7]
    assert found.accuracies == pytest.approx(values)
    assert found.mean == pytest.approx(0.6)
    assert found.deviation == pytest.approx(statistics.stdev(values))
    low, high = stats.t.interval(0.95, 2, loc=0.6, scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    # Ten questions are right in all four, ten in the three seeds, four in two, four in one.
    gains = np.array([0] * 10 + [1] * 10 + [2 / 3] * 4 + [1 / 3] * 4 + [0] * 12)
    assert found.difference == pytest.approx(gains.mean())
    margin = 1.96 * stats.sem(gains)
    assert found.difference_low == pytest.approx(gains.mean() - margin, abs=1e-4)
    assert found.difference_high == pytest.approx(gains.mean() + margin, abs=1e-4)
    assert found.verdict.startswith("Tuned is better than base by 35.0 points (60.0 % on average,")
    assert "10.0 points over 3 seeds" in found.verdict


def test_seeds_that_do_worse_or_change_nothing_are_said_to() -> None:
    worse = aggregate_seeds(evaluation("base", ASKED, 30), tuned(10, 12))
    assert worse.verdict.startswith("Tuned is worse than base by 47.5 points")
    same = aggregate_seeds(evaluation("base", ASKED, 30), tuned(30, 30))
    assert same.verdict.startswith("No detectable change: tuned is +0.0 points from base")
    assert (same.deviation, same.low, same.high) == (0, 0.75, 0.75)
    # The rule of three: 40 questions without a change bound it by 3 in 40.
    assert (same.difference_low, same.difference_high) == (-0.075, 0.075)


def test_the_interval_of_the_mean_stays_within_0_and_1() -> None:
    found = aggregate_seeds(evaluation("base", ASKED, 0), tuned(0, 40))
    assert (found.low, found.high) == (0.0, 1.0)


def test_seeds_examined_on_other_questions_are_refused() -> None:
    others = evaluation("tuned", questions(41)[1:], 3)
    with pytest.raises(PredictionsError, match="the same questions"):
        aggregate_seeds(evaluation("base", ASKED, 3), [*tuned(3), others])
