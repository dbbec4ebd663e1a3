from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.analysis.agreement import cohen_kappa, kappa_standard_error


def pairs_of(table: list[list[int]]) -> list[tuple[int, int]]:
    return [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]


def test_kappa_by_hand() -> None:
    # 40 and 30 alike of 100; a says 0 for 50, b for 60: by chance .5 * .6 + .5 * .4 = .5
    found = cohen_kappa("a", "b", pairs_of([[40, 10], [20, 30]]))
    assert found.observed is not None
    assert found.observed.value == pytest.approx(0.7)
    assert found.expected == pytest.approx(0.5)
    assert found.kappa == pytest.approx(0.4)


# Made with sklearn.metrics.cohen_kappa_score 1.9.1 (kappa) and, for the error,
# statsmodels.stats.inter_rater.cohens_kappa 0.15.0 (std_kappa, after Fleiss, Cohen, Everitt).
@pytest.mark.parametrize(
    ("pairs", "kappa", "error"),
    [
        (
            list(zip("AABCnnuABnnCD", "ABBCnnACnuCDD", strict=True)),
            0.3405797101449275,
            0.1641391157422471,
        ),
        (
            list(zip("AABCnnuABnnC", "ABBCnnACnuCD", strict=True)),
            0.26956521739130423,
            0.16549765348202694,
        ),
        (pairs_of([[44, 5, 1], [7, 20, 3], [9, 5, 6]]), 0.49152542372881347, 0.07212745929334068),
        (pairs_of([[2, 3], [4, 1]]), -0.4, 0.2839718295887814),
    ],
)
def test_kappa_and_its_error_are_the_reference_s(
    pairs: list[tuple[object, object]], kappa: float, error: float
) -> None:
    found = cohen_kappa("a", "b", pairs)
    assert found.kappa == pytest.approx(kappa, abs=1e-12)
    assert kappa_standard_error(pairs) == pytest.approx(error, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.959963984540054 * error)


def test_full_agreement_is_not_certainty() -> None:
    found = cohen_kappa("a", "b", [("A", "A")] * 5 + [("B", "B")] * 5)
    assert (found.kappa, found.high) == (1.0, 1.0)
    # Wilson's lower bound of 10 of 10 is .7225; by chance .5: (.7225 - .5) / .5
    assert found.low == pytest.approx(0.4449, abs=1e-3)


def test_kappa_of_one_category_is_not_one() -> None:
    found = cohen_kappa("a", "b", [("none", "none")] * 20)
    assert (found.kappa, found.low, found.high, found.expected) == (None, None, None, 1.0)
    assert "one category" in (found.reason or "")
    assert found.observed is not None
    assert found.observed.value == 1.0


def test_without_common_items_there_is_no_kappa() -> None:
    found = cohen_kappa("a", "b", [])
    assert (found.n, found.observed, found.kappa) == (0, None, None)
    assert found.reason == "no item was marked by both reviewers"


def test_each_in_a_category_of_their_own_is_no_agreement() -> None:
    assert cohen_kappa("a", "b", [("A", "B")] * 4).kappa == 0.0


SAID = st.sampled_from([0, 1, 2, "none", "unsure"])


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=40))
def test_kappa_is_symmetric_and_within_its_interval(pairs: list[tuple[object, object]]) -> None:
    found = cohen_kappa("a", "b", pairs)
    back = cohen_kappa("b", "a", [(y, x) for x, y in pairs])
    if found.kappa is None:
        assert back.kappa is None
        return
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= found.kappa <= found.high <= 1
    assert back.kappa == pytest.approx(found.kappa)
    assert back.low == pytest.approx(found.low)
    names = {0: "x", 1: "y", 2: "z", "none": 5, "unsure": 7}
    renamed = cohen_kappa("a", "b", [(names[x], names[y]) for x, y in pairs])
    assert renamed.kappa == pytest.approx(found.kappa)
