from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import beta, binom, binomtest, norm

from medtune.core.intervals import (
    clopper_pearson_interval,
    min_answers_for_risk,
    min_pairs_for_margin,
    quantile_upper_bound,
    tango_interval,
    wilson_interval,
)


def test_the_notebooks_six_of_twenty() -> None:
    # p = 0.3, z = 1.959964, z^2 = 3.841459; scale 1 + 3.841459 / 20 = 1.192073
    # centre (0.3 + 3.841459 / 40) / 1.192073 = 0.396036 / 1.192073 = 0.332225
    # spread 1.959964 * sqrt(0.21 / 20 + 3.841459 / 1600) / 1.192073
    #      = 1.959964 * sqrt(0.0105 + 0.002400912) / 1.192073 = 0.186748
    # 0.332225 -+ 0.186748 = 0.145477, 0.518973
    share = wilson_interval(6, 20)
    assert share.value == 0.3
    assert share.n == 20
    assert share.low == pytest.approx(0.145477, abs=1e-6)
    assert share.high == pytest.approx(0.518973, abs=1e-6)


def test_none_and_all() -> None:
    # At 0 of 10 the upper bound is z^2 / (n + z^2) = 3.841459 / 13.841459 = 0.277533.
    none, every = wilson_interval(0, 10), wilson_interval(10, 10)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.277533, abs=1e-6)
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(1 - 0.277533, abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (1, 0), (0, -1), (-1, 5), (6, 5)])
def test_what_is_no_proportion_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="proportion"):
        wilson_interval(successes, n)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_parity_with_scipy(confidence: float) -> None:
    for n in (1, 2, 3, 7, 20, 100, 999, 4183):
        for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
            found = wilson_interval(k, n, confidence)
            assert found.low == pytest.approx(expected.low, abs=1e-12)
            assert found.high == pytest.approx(expected.high, abs=1e-12)


@settings(max_examples=100)
@given(st.data(), st.integers(1, 10_000))
def test_the_interval_holds_the_value_and_mirrors(data: st.DataObject, n: int) -> None:
    k = data.draw(st.integers(0, n))
    share, mirror = wilson_interval(k, n), wilson_interval(n - k, n)
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert share.low == pytest.approx(1 - mirror.high, abs=1e-9)


def test_more_questions_narrow_the_interval() -> None:
    widths = [wilson_interval(3 * m, 10 * m) for m in (1, 2, 20, 400)]
    spans = [share.high - share.low for share in widths]
    assert spans == sorted(spans, reverse=True)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "low", "high"),
    [
        # Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33, 2850-2875, table of
        # intervals: airway hyper-responsiveness, and complete response after therapy.
        (7, 1, 21, -0.517, -0.026),
        (16, 6, 161, -0.124, -0.005),
    ],
)
def test_tango_as_published(only_a: int, only_b: int, n: int, low: float, high: float) -> None:
    assert tango_interval(only_a, only_b, n, correction=0) == pytest.approx((low, high), abs=5e-4)


def score_z(only_a: int, only_b: int, n: int, d: float, correction: float) -> float:
    """Compute the score statistic with the nuisance share found numerically, not in closed form."""

    def minus_log_likelihood(lost: float) -> float:
        parts = ((only_a, lost), (only_b, lost + d), (n - only_a - only_b, 1 - 2 * lost - d))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

    bounds = (max(0.0, -d), (1 - d) / 2)
    found = minimize_scalar(
        minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    )
    variance = n * (2 * found.x + d - d * d)
    gap = only_b - only_a - n * d
    shrunk = math.copysign(max(0.0, abs(gap) - correction), gap)
    return shrunk / math.sqrt(max(variance, 1e-12))


@pytest.mark.parametrize("correction", [0.0, 0.5])
@pytest.mark.parametrize(
    ("only_a", "only_b", "n"),
    [(0, 1, 10), (1, 0, 10), (3, 12, 60), (8, 20, 100), (57, 41, 1000), (0, 0, 50), (2, 5, 9)],
)
def test_tango_holds_what_the_score_test_does_not_reject(
    only_a: int, only_b: int, n: int, correction: float
) -> None:
    low, high = tango_interval(only_a, only_b, n, correction=correction)
    z, step = float(norm.ppf(0.975)), 1e-4

    def rejected(d: float) -> bool:
        return abs(score_z(only_a, only_b, n, d, correction)) > z

    assert rejected(low - step)
    assert not rejected(low + step)
    assert not rejected(high - step)
    assert rejected(high + step)


def test_tango_at_the_edges() -> None:
    z2 = statistics.NormalDist().inv_cdf(0.975) ** 2
    # Nothing discordant: Wilson's end of 0 of n, on both sides.
    for n in (1, 10, 299, 4183):
        edge = z2 / (n + z2)
        assert tango_interval(0, 0, n, correction=0) == pytest.approx((-edge, edge), abs=1e-9)
    # One pair of ten was gained: a loss of 20 points is not excluded, the bootstrap said none.
    assert tango_interval(0, 1, 10, correction=0)[0] == pytest.approx(-0.2053, abs=1e-4)
    assert tango_interval(0, 1, 10)[0] < -0.2053
    assert tango_interval(0, 10, 10)[1] == 1
    assert 0 < tango_interval(0, 10, 10)[0] < 0.45
    assert tango_interval(10, 0, 10)[0] == -1
    for only_a, only_b, n in ((0, 0, 0), (-1, 0, 5), (3, 3, 5)):
        with pytest.raises(ValueError, match="discordant"):
            tango_interval(only_a, only_b, n)


@settings(max_examples=200)
@given(st.data(), st.integers(1, 5_000))
def test_tango_holds_the_difference_and_mirrors(data: st.DataObject, n: int) -> None:
    only_a = data.draw(st.integers(0, n))
    only_b = data.draw(st.integers(0, n - only_a))
    low, high = tango_interval(only_a, only_b, n)
    assert -1 <= low <= (only_b - only_a) / n <= high <= 1
    assert tango_interval(only_b, only_a, n) == pytest.approx((-high, -low), abs=1e-12)
    bare = tango_interval(only_a, only_b, n, correction=0)
    assert low <= bare[0] + 1e-9
    assert high >= bare[1] - 1e-9
    wider = tango_interval(only_a, only_b, n, 0.99)
    assert wider[0] <= low <= high <= wider[1]


def test_clopper_pearson_is_scipys() -> None:
    lots = random.Random(0)
    for _ in range(100):
        n = lots.randint(1, 5000)
        k = lots.choice((0, n, lots.randint(0, n)))
        expected = binomtest(k, n).proportion_ci(0.95, method="exact")
        found = clopper_pearson_interval(k, n)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert clopper_pearson_interval(0, 30).high == pytest.approx(
        float(beta.ppf(0.975, 1, 30)), abs=1e-9
    )
    with pytest.raises(ValueError, match="proportion"):
        clopper_pearson_interval(1, 0)


def test_the_fewest_questions_are_the_first_that_show_it() -> None:
    for margin in (0.01, 0.03, 0.05):
        n = min_pairs_for_margin(margin)
        assert tango_interval(0, 0, n)[0] >= -margin > tango_interval(0, 0, n - 1)[0]
    for rate in (0.02, 0.12):
        n = min_answers_for_risk(rate, 0.975)
        # 1 - 0.025^(1 / n) is the exact end of none of n
        assert 1 - 0.025 ** (1 / n) <= rate < 1 - 0.025 ** (1 / (n - 1))
    for of in (min_pairs_for_margin, min_answers_for_risk):
        with pytest.raises(ValueError, match="no number"):
            of(0.0)


def test_the_end_of_a_quantile_is_an_order_statistic() -> None:
    # 0.95^72 = 0.0249: of 72 values the largest is above the 95th percentile in 97.5 % of samples.
    assert quantile_upper_bound(list(range(71)), 0.95) is None
    assert quantile_upper_bound(list(range(72)), 0.95) == 71
    for n in (100, 137, 1000):
        value = quantile_upper_bound(list(reversed(range(n))), 0.95)
        assert value is not None
        rank = int(value) + 1
        assert binom.cdf(rank - 1, n, 0.95) >= 0.975 > binom.cdf(rank - 2, n, 0.95)
