from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.analysis.test_calibration import FOUR, scored, simulated

from medtune.analysis.calibration import ScoredOptions
from medtune.analysis.selective_prediction import (
    clopper_pearson_upper,
    compute_search_power,
    coverage_by_group,
    find_threshold_for_risk,
    fit_conformal_sets,
    nonconformity_scores,
    risk_coverage,
)
from medtune.core.errors import PredictionsError

# Risk and coverage


def test_risk_and_coverage_by_hand() -> None:
    # right, wrong, right, wrong in order of confidence
    found = risk_coverage(scored(*FOUR))
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert found.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert found.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_equal_confidences_are_not_parted() -> None:
    found = risk_coverage(scored(([0.9, 0.1], 1), ([0.9, 0.1], 0), ([0.6, 0.4], 0)))
    assert found.coverage.tolist() == pytest.approx([2 / 3, 1])
    assert found.risk.tolist() == pytest.approx([1 / 2, 1 / 3])
    assert found.area == pytest.approx((2 * 1 / 2 + 1 / 3) / 3)


def test_knowing_what_one_knows_lowers_the_area() -> None:
    found = simulated(5_000, 1)
    shuffled = found.take(np.arange(len(found)))
    shuffled.answers[:] = np.random.default_rng(1).permutation(shuffled.answers)
    assert (
        risk_coverage(simulated(5_000, 1)).area < 0.7 * risk_coverage(simulated(5_000, 1)).risk[-1]
    )
    assert risk_coverage(shuffled).area > 0.6


# Thresholds


@pytest.mark.parametrize(
    ("errors", "n", "bound"),
    # 1 - 0.05 ** (1 / n) for no error; the rest from tables of the beta distribution
    [(0, 10, 1 - 0.05**0.1), (0, 59, 1 - 0.05 ** (1 / 59)), (1, 10, 0.39416), (10, 10, 1.0)],
)
def test_the_exact_bound(errors: int, n: int, bound: float) -> None:
    assert clopper_pearson_upper(errors, n) == pytest.approx(bound, abs=1e-5)


def test_a_threshold_bounds_the_risk() -> None:
    rows = [([0.99, 0.01], 0)] * 100 + [([0.6, 0.4], n % 2) for n in range(100)]
    found = find_threshold_for_risk(scored(*rows), target=0.1)
    assert found is not None
    assert found.confidence == 0.99
    # no error in 100: 1 - 0.05 ** 0.01
    assert found.bound == pytest.approx(1 - 0.05**0.01)
    assert (found.coverage.value, found.coverage.n) == (0.5, 200)


def test_a_model_that_is_never_sure_answers_nothing() -> None:
    rows = [([0.6, 0.4], n % 2) for n in range(100)]
    assert find_threshold_for_risk(scored(*rows), target=0.1) is None


@pytest.mark.parametrize("n", [30, 59, 100, 400])
def test_the_power_of_the_search_is_what_it_finds(n: int) -> None:
    rng = np.random.default_rng(n)
    sure = np.linspace(0.9, 0.6, n)
    table = np.column_stack([sure, 1 - sure])
    power = compute_search_power(
        ScoredOptions(table, np.zeros(n, dtype=np.int64), np.full(n, 2)), 0.05
    )
    assert power.least == 59  # 0.95 ^ 59 is the first power below 0.05
    if n < 59:
        assert (power.first, power.accuracy) == (None, None)
        return
    assert (power.first, power.allowed) == (59, 0)
    assert power.accuracy is not None
    assert power.accuracy == pytest.approx(0.8 ** (1 / 59))
    answers = (rng.random((400, n)) > power.accuracy).astype(np.int64)
    found = [
        find_threshold_for_risk(ScoredOptions(table, row, np.full(n, 2)), 0.05) is not None
        for row in answers
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


def test_equal_confidences_begin_the_search_together() -> None:
    table = np.tile([0.9, 0.1], (200, 1))
    power = compute_search_power(
        ScoredOptions(table, np.zeros(200, dtype=np.int64), np.full(200, 2)), 0.05
    )
    assert (power.least, power.first) == (59, 200)
    assert power.allowed == 4  # the exact bound is 4.5 % of 4 errors in 200, 5.2 % of 5
    assert clopper_pearson_upper(4, 200) <= 0.05 < clopper_pearson_upper(5, 200)


def test_the_bound_holds_as_often_as_it_promises() -> None:
    broken = answered = 0
    for seed in range(300):
        calibration, later = simulated(300, 0.7, seed), simulated(3_000, 0.7, 10_000 + seed)
        found = find_threshold_for_risk(calibration, target=0.2, level=0.9)
        if found is None:
            continue
        answered += 1
        sure = later.confidence >= found.confidence
        broken += (~later.correct[sure]).mean() > 0.2
    assert answered > 250
    # 10 % may break; with 300 draws more than 14 % would be an accident of one in a hundred
    assert broken / answered <= 0.14


# Prediction sets


def test_nonconformity_by_hand() -> None:
    found = scored(([0.5, 0.3, 0.2], 0))
    assert nonconformity_scores(found, "lac")[0].tolist() == pytest.approx([0.5, 0.7, 0.8])
    assert nonconformity_scores(found, "aps")[0].tolist() == pytest.approx([0.5, 0.8, 1.0])


def test_the_quantile_by_hand() -> None:
    # ceil(5 * 0.8) = 4: the fourth of four, of 0.1, 0.8, 0.4, 0.7
    sets = fit_conformal_sets(scored(*FOUR), level=0.8)
    assert sets.quantile == pytest.approx(0.8)
    assert sets.predict_sets(scored(([0.75, 0.15, 0.1], 0))).tolist() == [[True, False, False]]
    assert sets.predict_sets(scored(([0.5, 0.25, 0.25], 0))).tolist() == [[True, True, True]]


def test_options_that_a_question_does_not_have_are_in_no_set() -> None:
    sets = fit_conformal_sets(scored(*FOUR), level=0.8, score="aps")
    inside = sets.predict_sets(scored(([0.5, 0.5], 0), ([0.1, 0.2, 0.7], 0)))
    assert not inside[0, 2]


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_coverage_is_what_was_promised(score: str) -> None:
    covered, sizes = [], []
    for seed in range(60):
        sets = fit_conformal_sets(simulated(200, 0.6, seed), 0.9, score)  # type: ignore[arg-type]
        proportion, size = sets.measure_coverage(simulated(1_000, 0.6, 5_000 + seed))
        covered.append(proportion.value)
        sizes.append(size)
    mean = float(np.mean(covered))
    # 0.9 to 0.9 + 1/201, and what 60 repetitions leave to chance
    assert 0.89 < mean < 0.925
    assert 1 <= np.mean(sizes) < 4


def test_lac_sets_are_the_smaller_ones() -> None:
    calibration, later = simulated(2_000, 1, 1), simulated(2_000, 1, 2)
    lac, aps = (
        fit_conformal_sets(calibration, 0.9, score).measure_coverage(later)[1]
        for score in ("lac", "aps")
    )
    assert lac < aps


def test_too_few_questions_cannot_promise(  # 9 are enough for 90 %
) -> None:
    fit_conformal_sets(simulated(9, 1), 0.9)
    with pytest.raises(PredictionsError, match="8 calibration questions are too few") as caught:
        fit_conformal_sets(simulated(8, 1), 0.9)
    assert caught.value.expected == "at least 9"


def test_coverage_is_shown_group_by_group() -> None:
    sets = fit_conformal_sets(scored(*FOUR), level=0.8)
    found = coverage_by_group(sets, scored(*FOUR), ["ENT", "Skin", "ENT", "Skin"])
    assert {name: (p.value, p.n) for name, (p, _) in found.items()} == {
        "ENT": (1.0, 2),
        "Skin": (1.0, 2),
    }


@settings(max_examples=40)
@given(st.integers(0, 1000), st.sampled_from([0.5, 0.8, 0.9]), st.sampled_from(["lac", "aps"]))
def test_sets_grow_with_the_promise(seed: int, level: float, score: str) -> None:
    found = simulated(60, 1, seed)
    smaller = fit_conformal_sets(found, level, score)  # type: ignore[arg-type]
    larger = fit_conformal_sets(found, 0.95, score)  # type: ignore[arg-type]
    assert (larger.predict_sets(found) | ~smaller.predict_sets(found)).all()
    # On the questions that it was calibrated on, the promise is kept to the letter.
    assert smaller.measure_coverage(found)[0].value >= level
