from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from medtune.analysis.compare import mcnemar_exact
from medtune.core.intervals import wilson_interval
from medtune.studies.test_size.subsample import (
    SubjectCounts,
    bootstrap_deviation_ratio,
    correct_finite_population,
    count_right,
    mcnemar_p_values,
    summarize_spread,
    wilson_intervals,
)

DRAWS = 20_000


def tally(*cells: tuple[int, ...]) -> SubjectCounts:
    return SubjectCounts(tuple(f"s{row}" for row in range(len(cells))), np.array(cells))


def test_kinds_are_counted_by_subject() -> None:
    a = [True, True, False, False, True]
    b = [True, False, True, False, True]
    found = SubjectCounts.from_outcomes([a, b], ["ENT", "ENT", "Skin", "Skin", "Skin"])
    assert found.subjects == ("ENT", "Skin")
    # columns: neither, only a, only b, both
    assert found.cells.tolist() == [[0, 1, 0, 1], [1, 0, 1, 1]]
    assert found.total.tolist() == [1, 1, 1, 2]
    assert count_right(found.total, 0) == 3
    assert count_right(found.total, 1) == 3


def test_rights_and_subjects_must_be_of_the_same_questions() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        SubjectCounts.from_outcomes([[True, False]], ["ENT"])


@pytest.mark.parametrize(("n", "correct", "total"), [(20, 300, 1000), (50, 12, 200), (90, 61, 100)])
def test_plain_draws_are_hypergeometric(n: int, correct: int, total: int) -> None:
    drawn = tally((total - correct, correct)).draw_plain(n, DRAWS, seed=1)
    assert (drawn.sum(axis=1) == n).all()
    found = count_right(drawn, 0)
    theory = hypergeom(total, correct, n)
    # sup |F_n - F| exceeds 1.95 / sqrt(draws) once in a thousand samples (Kolmogorov).
    places = np.arange(n + 1)
    empirical = (found[:, None] <= places).mean(axis=0)
    assert np.abs(empirical - theory.cdf(places)).max() < 1.95 / math.sqrt(DRAWS)
    made = summarize_spread(found, n)
    assert abs(n * made.low - theory.ppf(0.025)) <= 1
    assert abs(n * made.high - theory.ppf(0.975)) <= 1
    assert made.mean == pytest.approx(theory.mean() / n, abs=5 * theory.std() / n / DRAWS**0.5)
    assert made.deviation == pytest.approx(theory.std() / n, rel=0.03)
    # The standard error with the finite population correction is that of the hypergeometric.
    rate = correct / total
    error = correct_finite_population(math.sqrt(rate * (1 - rate) / n), n, total)
    assert error == pytest.approx(theory.std() / n, rel=1e-12)


def test_drawing_all_leaves_nothing_to_chance() -> None:
    some = tally((3, 1, 4, 1), (5, 9, 2, 6))
    assert (some.draw_plain(31, 100, 0) == some.total).all()
    assert (some.draw_stratified({"s0": 9, "s1": 22}, 100, 0) == some.total).all()
    assert correct_finite_population(0.1, 31, 31) == 0
    assert some.stratified_error({"s0": 9, "s1": 22}, 0) == 0


def test_every_pair_of_four_questions_is_as_likely() -> None:
    # One of each kind, two drawn: 6 pairs, each a sixth.
    drawn = tally((1, 1, 1, 1)).draw_plain(2, DRAWS, 3)
    for pair in itertools.combinations(range(4), 2):
        share = (drawn[:, pair].sum(axis=1) == 2).mean()
        assert share == pytest.approx(1 / 6, abs=5 * math.sqrt(5 / 36 / DRAWS))


def test_drawing_by_subject_keeps_to_the_lots() -> None:
    drawn = tally((30, 0), (0, 10)).draw_stratified({"s0": 6, "s1": 2}, 500, 0)
    # Each subject is all wrong or all right: nothing is left to chance.
    assert (drawn == [6, 2]).all()


def test_drawing_by_subject_spreads_as_theory_says() -> None:
    some = tally((90, 10), (20, 80), (1, 0))
    lots = {"s0": 20, "s1": 20, "s2": 0}
    found = count_right(some.draw_stratified(lots, DRAWS, 5), 0)
    # Two independent hypergeometrics with the same scatter 0.1 * 0.9 and 0.8 * 0.2:
    # var of the sum = 20 * (0.09 + 0.16) * 80 / 99 = 4.0404; / 40: 0.050252
    assert some.stratified_error(lots, 0) == pytest.approx(math.sqrt(4.040404) / 40, rel=1e-6)
    assert summarize_spread(found, 40).deviation == pytest.approx(0.050252, rel=0.03)


def test_fresh_questions_are_binomial() -> None:
    drawn = tally((6, 4)).draw_fresh(10, DRAWS, 2)
    found = count_right(drawn, 0)
    # As many as there are, yet not the same ones: sqrt(0.24 / 10) = 0.154919
    assert summarize_spread(found, 10).deviation == pytest.approx(0.154919, rel=0.03)
    assert found.max() > 4


def test_draws_depend_on_seed_and_size_alone() -> None:
    some = tally((40, 30), (20, 10))
    lots = {"s0": 14, "s1": 6}
    assert (some.draw_plain(20, 200, 1) == some.draw_plain(20, 200, 1)).all()
    assert (some.draw_plain(20, 200, 1) != some.draw_plain(20, 200, 2)).any()
    assert (some.draw_stratified(lots, 200, 1) == some.draw_stratified(lots, 200, 1)).all()
    assert (some.draw_stratified(lots, 200, 1) != some.draw_stratified(lots, 200, 2)).any()


def test_a_spread_by_hand() -> None:
    found = summarize_spread(np.array([2, 4, 4, 6]), 10)
    assert (found.mean, found.least, found.most) == (0.4, 0.2, 0.6)
    # sqrt((4 + 0 + 0 + 4) / 3) / 10
    assert found.deviation == pytest.approx(0.163299, abs=1e-6)
    # Linear: at place 0.025 * 3 = 0.075 between 2 and 4
    assert found.low == pytest.approx(0.215)
    assert found.high == pytest.approx(0.585)


def test_intervals_are_wilsons() -> None:
    low, high = wilson_intervals(np.array([7, 0, 20, 7]), 20)
    for place, count in enumerate([7, 0, 20, 7]):
        bound = wilson_interval(count, 20)
        assert (low[place], high[place]) == (bound.low, bound.high)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=20))
def test_many_mcnemars_are_the_single_ones(pairs: list[tuple[int, int]]) -> None:
    only_a, only_b = np.array(pairs).T
    expected = [mcnemar_exact(*pair) for pair in pairs]
    assert mcnemar_p_values(only_a, only_b) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_by_hand() -> None:
    # 2 * (1 + 6) / 64 of (1, 5); no disagreement is no evidence
    assert mcnemar_p_values(np.array([1, 0, 3]), np.array([5, 0, 3])) == pytest.approx(
        [0.21875, 1, 1]
    )


def test_a_ratio_of_deviations() -> None:
    rng = np.random.default_rng(0)
    base = rng.binomial(100, 0.5, size=2_000)
    half = np.where(rng.random(2_000) < 0.5, 47, 52)
    ratio, low, high = bootstrap_deviation_ratio(half, base, 0, 100) or (0, 0, 0)
    # 2.5 (a coin between two values 5 apart) against 5
    assert ratio == pytest.approx(0.5, abs=0.03)
    assert low < ratio < high
    # By theory the log of a ratio of deviations of two samples has a standard error of
    # sqrt((k_1 - 1 + k_2 - 1) / (4 draws)), kurtosis k = 1 for the coin, 3 for the bell: 0.0158.
    assert (high - low) / ratio == pytest.approx(2 * 1.96 * 0.0158, rel=0.2)
    assert bootstrap_deviation_ratio(half, base, 0, 100) == (ratio, low, high)


def test_a_deviation_of_nothing_has_no_ratio() -> None:
    still = np.full(200, 7)
    moving = np.arange(200)
    assert bootstrap_deviation_ratio(moving, still, 0, 300) is None
    assert bootstrap_deviation_ratio(still, moving, 0, 300) == (0, 0, 0)


def test_a_base_that_hardly_varies_does_not_divide_by_zero() -> None:
    nearly = np.array([7] * 199 + [8])
    ratio, low, high = bootstrap_deviation_ratio(np.arange(200), nearly, 0, 300) or (0, 0, 0)
    assert 0 < low < ratio < high < math.inf
