from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.evaluation.pride import estimate_prior, remove_prior

LEANING = st.floats(-4, 4)


def softmax(values: Sequence[float]) -> list[float]:
    total = math.fsum(map(math.exp, values))
    return [math.exp(value) / total for value in values]


def table(contents: Sequence[float], positions: Sequence[float]) -> list[list[float]]:
    """Log-probabilities of a model that adds what it thinks of content and of position."""
    k = len(contents)
    rows = [[contents[(i + r) % k] + positions[i] for i in range(k)] for r in range(k)]
    return [[math.log(share) for share in softmax(row)] for row in rows]


def test_a_prior_by_hand() -> None:
    # means of the logs: ln sqrt(0.8 * 0.6) and ln sqrt(0.2 * 0.4)
    logs = [[math.log(0.8), math.log(0.2)], [math.log(0.6), math.log(0.4)]]
    first, second = math.sqrt(0.48), math.sqrt(0.08)
    assert estimate_prior([logs]) == pytest.approx(
        (first / (first + second), second / (first + second))
    )


def test_the_prior_is_the_mean_over_the_questions() -> None:
    sharp, flat = table([0, 0], [math.log(9), 0]), table([0, 0], [0, 0])
    assert estimate_prior([sharp, flat]) == pytest.approx((0.7, 0.3))  # of 0.9 and 0.5


@settings(max_examples=60)
@given(st.data(), st.integers(2, 6), st.integers(1, 5))
def test_a_leaning_that_adds_to_the_content_is_found_and_taken_out(
    data: st.DataObject, k: int, n: int
) -> None:
    positions = data.draw(st.lists(LEANING, min_size=k, max_size=k))
    questions = [data.draw(st.lists(LEANING, min_size=k, max_size=k)) for _ in range(n)]
    tables = [table(contents, positions) for contents in questions]
    prior = estimate_prior(tables)
    assert prior == pytest.approx(softmax(positions), abs=1e-9)
    assert math.fsum(prior) == pytest.approx(1)
    for contents, rows in zip(questions, tables, strict=True):
        for r, row in enumerate(rows):
            displayed = [softmax(contents)[(i + r) % k] for i in range(k)]
            assert remove_prior(row, prior) == pytest.approx(displayed, abs=1e-9)


@given(st.lists(st.floats(-50, 0), min_size=2, max_size=10))
def test_a_flat_prior_changes_nothing(logs: list[float]) -> None:
    found = remove_prior(logs, [1 / len(logs)] * len(logs))
    assert found == pytest.approx(softmax(logs))
    assert math.fsum(found) == pytest.approx(1)


def test_debiasing_by_hand() -> None:
    # 0.6 / 0.75 and 0.4 / 0.25
    found = remove_prior([math.log(0.6), math.log(0.4)], [0.75, 0.25])
    assert found == pytest.approx((0.8 / 2.4, 1.6 / 2.4))


def test_what_was_never_seen_can_be_divided_by() -> None:
    prior = estimate_prior([[[0.0, -5000.0], [0.0, -5000.0]]])
    assert min(prior) > 0
    assert remove_prior([-1.0, -1.0], prior)[1] == pytest.approx(1)


@pytest.mark.parametrize("tables", [[], [[]], [[[0.0, 0.0]]], [[[0.0], [0.0]]]])
def test_tables_that_are_not_square_are_refused(tables: list[list[list[float]]]) -> None:
    with pytest.raises(ValueError, match=r"no question|k rotations"):
        estimate_prior(tables)


def test_one_number_of_options_at_a_time() -> None:
    with pytest.raises(ValueError, match="one k for all"):
        estimate_prior([table([0, 0], [0, 0]), table([0, 0, 0], [0, 0, 0])])


def test_a_prior_of_another_size_or_with_a_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="2 log-probabilities, but a prior of 3"):
        remove_prior([0.0, 0.0], [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="prior of 0"):
        remove_prior([0.0, 0.0], [1.0, 0.0])
