from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from medtune.core.intervals import wilson


def test_the_notebooks_six_of_twenty() -> None:
    # p = 0.3, z = 1.959964, z^2 = 3.841459; scale 1 + 3.841459 / 20 = 1.192073
    # centre (0.3 + 3.841459 / 40) / 1.192073 = 0.396036 / 1.192073 = 0.332225
    # spread 1.959964 * sqrt(0.21 / 20 + 3.841459 / 1600) / 1.192073
    #      = 1.959964 * sqrt(0.0105 + 0.002400912) / 1.192073 = 0.186748
    # 0.332225 -+ 0.186748 = 0.145477, 0.518973
    share = wilson(6, 20)
    assert share.value == 0.3
    assert share.n == 20
    assert share.low == pytest.approx(0.145477, abs=1e-6)
    assert share.high == pytest.approx(0.518973, abs=1e-6)


def test_none_and_all() -> None:
    # At 0 of 10 the upper bound is z^2 / (n + z^2) = 3.841459 / 13.841459 = 0.277533.
    none, every = wilson(0, 10), wilson(10, 10)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.277533, abs=1e-6)
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(1 - 0.277533, abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (1, 0), (0, -1), (-1, 5), (6, 5)])
def test_what_is_no_proportion_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="proportion"):
        wilson(successes, n)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_parity_with_scipy(confidence: float) -> None:
    for n in (1, 2, 3, 7, 20, 100, 999, 4183):
        for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
            found = wilson(k, n, confidence)
            assert found.low == pytest.approx(expected.low, abs=1e-12)
            assert found.high == pytest.approx(expected.high, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 10_000))
def test_the_interval_holds_the_value_and_mirrors(data: st.DataObject, n: int) -> None:
    k = data.draw(st.integers(0, n))
    share, mirror = wilson(k, n), wilson(n - k, n)
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert share.low == pytest.approx(1 - mirror.high, abs=1e-9)


def test_more_questions_narrow_the_interval() -> None:
    widths = [wilson(3 * m, 10 * m) for m in (1, 2, 20, 400)]
    spans = [share.high - share.low for share in widths]
    assert spans == sorted(spans, reverse=True)
