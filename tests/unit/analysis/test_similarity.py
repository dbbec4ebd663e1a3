from __future__ import annotations

import random

import pytest
from tests.unit.analysis.synthetic import predictions

from medtune.analysis.similarity import accuracy_without_most_similar, measure_by_similarity
from medtune.core.intervals import wilson_interval
from medtune.core.records import Outcome, Prediction


def similar(values: list[float]) -> list[Prediction]:
    """Make predictions with these similarities; the second half of them is right."""
    given = predictions(len(values), 1.0, cyclic=False)
    middle = sorted(values)[len(values) // 2]
    return [
        p.model_copy(
            update={
                "similarity": value,
                "outcome": Outcome.CORRECT if value >= middle else Outcome.WRONG,
            }
        )
        for p, value in zip(given, values, strict=True)
    ]


def test_bins_hold_equal_shares_and_the_least_similar_come_first() -> None:
    values = [n / 200 for n in range(200)]
    random.Random(1).shuffle(values)
    found = measure_by_similarity(similar(values))
    assert found is not None
    assert [part.accuracy.n for part in found.bins] == [20] * 10
    assert [part.accuracy.value for part in found.bins] == [0.0] * 5 + [1.0] * 5
    assert (found.bins[0].low, found.bins[0].high) == (0.0, 19 / 200)
    assert found.bins[0].mean == pytest.approx(9.5 / 200)
    assert found.bins[-1].high == 199 / 200
    # The 20 most similar ones are right: 80 of 180 remain.
    assert found.less_similar == wilson_interval(80, 180)


def test_equal_similarities_share_a_bin() -> None:
    found = measure_by_similarity(similar([0.25] * 60 + [0.5] * 40))
    assert found is not None
    assert [(part.low, part.high, part.accuracy.n) for part in found.bins] == [
        (0.25, 0.25, 60),
        (0.5, 0.5, 40),
    ]


def test_few_questions_are_one_bin() -> None:
    found = measure_by_similarity(similar([0.1, 0.2, 0.3]))
    assert found is not None
    assert [part.accuracy.n for part in found.bins] == [3]
    assert found.less_similar == wilson_interval(1, 2)


def test_a_single_question_leaves_none() -> None:
    assert accuracy_without_most_similar(similar([0.4])) is None


def test_the_tenth_is_rounded_up_and_does_not_depend_on_the_order() -> None:
    given = similar([0.5] * 11)
    given[3] = given[3].model_copy(update={"outcome": Outcome.WRONG})
    whole = accuracy_without_most_similar(given)
    assert whole is not None
    assert whole.n == 9
    assert accuracy_without_most_similar(given[::-1]) == whole


def test_without_an_index_nothing_is_measured() -> None:
    given = similar([0.1] * 20)
    assert measure_by_similarity([]) is None
    assert measure_by_similarity(predictions(20, 1.0)) is None
    part = [given[0].model_copy(update={"similarity": None}), *given[1:]]
    assert measure_by_similarity(part) is None
