from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from medtune.analysis.breakdown import (
    SMALL_TOPICS,
    break_down_accuracy,
    estimate_clustered_spread,
    holm_correction,
)
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.records import Outcome, Prediction
from medtune.core.schemas.analysis import Slice
from medtune.core.schemas.dataset import NO_SUBJECT

RIGHT, WRONG, UNPARSED = Outcome.CORRECT, Outcome.WRONG, Outcome.UNPARSED
_CHOSEN = {Outcome.CORRECT: 0, Outcome.WRONG: 1}


def prediction(outcome: Outcome = RIGHT, **changes: Any) -> Prediction:
    plain = Prediction(
        id="q",
        stem="Why?",
        options=("Yes", "No"),
        answer=0,
        chosen=_CHOSEN.get(outcome),
        outcome=outcome,
    )
    return plain.model_copy(update=changes)


def some(right: int, wrong: int, **changes: Any) -> list[Prediction]:
    return [prediction(RIGHT, **changes)] * right + [prediction(WRONG, **changes)] * wrong


def of(dimension: str, predictions: Sequence[Prediction]) -> dict[str, Slice]:
    return {s.name: s for s in break_down_accuracy(predictions) if s.dimension == dimension}


# Slices


def test_subjects_by_hand() -> None:
    predictions = [
        *some(12, 4, subject="Anatomy"),
        *some(2, 9, subject="Surgery"),
        prediction(UNPARSED, subject="Surgery"),
        *some(3, 1, subject=None),
    ]
    found = of("subject", predictions)
    assert list(found) == ["Anatomy", "Surgery", NO_SUBJECT]
    surgery = found["Surgery"]
    assert surgery.accuracy == wilson_interval(2, 12)
    assert surgery.answer_rate == wilson_interval(11, 12)
    assert surgery.rest == wilson_interval(15, 20)
    # Hypergeometric: 17 of 32 right, 12 drawn; both tails that are as unlikely as 2
    chances = [math.comb(17, k) * math.comb(15, 12 - k) / math.comb(32, 12) for k in range(13)]
    p_value = sum(c for c in chances if c <= chances[2] * (1 + 1e-9))
    assert surgery.p_value == pytest.approx(p_value)
    assert surgery.p_holm == pytest.approx(2 * p_value)  # two of the three slices are tested
    assert surgery.weak
    assert found["Anatomy"].p_holm == max(found["Anatomy"].p_value or 0, surgery.p_holm or 0)
    assert not found["Anatomy"].weak  # above the rest, not below
    assert (found[NO_SUBJECT].p_value, found[NO_SUBJECT].p_holm) == (None, None)
    assert not found[NO_SUBJECT].weak


@pytest.mark.parametrize(("slice_n", "rest_n", "tested"), [(9, 30, False), (10, 30, True)])
def test_a_test_takes_ten_questions_on_both_sides(slice_n: int, rest_n: int, tested: bool) -> None:
    predictions = [*some(0, slice_n, subject="A"), *some(rest_n, 0, subject="B")]
    found = of("subject", predictions)
    assert (found["A"].p_value is not None) == tested
    assert (found["B"].p_value is not None) == tested  # its rest is A
    assert found["A"].weak == tested


def test_two_slices_are_one_test() -> None:
    predictions = [
        *some(10, 12, stem="All are true except"),
        *some(20, 6, stem="Which is true?"),
    ]
    found = of("negation", predictions)
    p_value = fisher_exact([[10, 12], [20, 6]]).pvalue
    assert p_value < 0.05 < 2 * p_value
    assert list(found) == ["negated", "plain"]
    assert found["negated"].p_value == found["negated"].p_holm == pytest.approx(p_value)
    assert found["plain"].p_holm == pytest.approx(p_value)
    assert found["negated"].weak
    assert not found["plain"].weak


def test_a_slice_is_weak_only_after_holm() -> None:
    subjects = [s for name in "BCDEFG" for s in some(8, 4, subject=name)]
    found = of("subject", [*some(3, 9, subject="A"), *subjects])
    assert (found["A"].p_value or 1) < 0.05 < (found["A"].p_holm or 0)
    assert not found["A"].weak


def test_subjects_come_by_size_then_by_name() -> None:
    predictions = [*some(1, 0, subject="C"), *some(2, 0, subject="B"), *some(1, 0, subject="A")]
    assert list(of("subject", predictions)) == ["B", "A", "C"]


def test_small_topics_are_gathered() -> None:
    predictions = [
        *some(4, 5, topic="nine"),
        *some(10, 0, topic="ten"),
        *some(1, 0, topic="one"),
        *some(2, 1),
    ]
    found = of("topic", predictions)
    # What is not stated is no small topic, although there are three of them.
    assert list(found) == ["ten", NO_SUBJECT, SMALL_TOPICS]
    assert SMALL_TOPICS == "(fewer than 10 questions)"
    assert [s.accuracy.n for s in found.values()] == [10, 3, 10]
    assert found[SMALL_TOPICS].accuracy == wilson_interval(5, 10)


@pytest.mark.parametrize(
    ("size", "name"),
    [(49, "0–49"), (50, "50–99"), (1499, "1000–1499"), (1500, "1500+"), (1600, "1500+")],
)
def test_length_counts_stem_and_options(size: int, name: str) -> None:
    # "Yes" and "No" are five characters
    predictions = [prediction(stem="a" * (size - 5)), prediction(stem="a" * 300)]
    assert set(of("length", predictions)) == {f"{name} characters", "300–399 characters"}


def test_lengths_come_shortest_first() -> None:
    predictions = [prediction(stem="a" * size) for size in (1600, 120, 1, 60)]
    assert list(of("length", predictions)) == [
        "0–49 characters",
        "50–99 characters",
        "100–149 characters",
        "1500+ characters",
    ]


def test_letters_and_numbers_of_options() -> None:
    ten = tuple("abcdefghij")
    predictions = [
        prediction(options=ten, answer=9, chosen=9),
        prediction(answer=1, chosen=1),
        prediction(WRONG),
    ]
    assert list(of("letter", predictions)) == ["A", "B", "J"]
    options = of("options", predictions)
    assert list(options) == ["2 options", "10 options"]
    assert options["2 options"].accuracy == wilson_interval(1, 2)


def test_a_dimension_in_which_all_are_alike_is_left_out() -> None:
    assert break_down_accuracy(some(3, 2, subject="Anatomy")) == ()
    assert break_down_accuracy(some(3, 2)) == ()
    mixed = [*some(3, 2, subject="Anatomy"), *some(1, 1, subject="Surgery")]
    assert {s.dimension for s in break_down_accuracy(mixed)} == {"subject"}


@pytest.mark.parametrize("measure", [break_down_accuracy, estimate_clustered_spread])
def test_nothing_is_refused(measure: Any) -> None:
    with pytest.raises(PredictionsError, match=r"(?s)no prediction.*at least one"):
        measure([])


def test_a_whole_split_is_quick() -> None:
    predictions = [
        prediction(
            RIGHT if n * n % 7 < 3 else WRONG,
            subject=f"s{n % 20}",
            topic=f"t{n * n % 600}",
            stem="Which of the following is " + "x" * (n % 700),
        )
        for n in range(4_183)
    ]
    start = time.thread_time()
    break_down_accuracy(predictions)
    estimate_clustered_spread(predictions)
    assert time.thread_time() - start < 2  # 0.1 s on an idle core


# Holm


def test_holm_by_hand() -> None:
    # sorted: 0.01 * 3, 0.02 * 2 = 0.04, 0.03 * 1 -> 0.04 (never below the one before)
    assert holm_correction([0.02, 0.03, 0.01]) == pytest.approx([0.04, 0.04, 0.03])
    assert holm_correction([0.6, 0.7]) == [1.0, 1.0]
    assert holm_correction([0.2]) == [0.2]
    assert holm_correction([]) == []


def test_holm_agrees_with_statsmodels() -> None:
    # statsmodels 0.15.0: statsmodels.stats.multitest.multipletests(p_values, method="holm")[1]
    p_values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04, 0.9, 0.0002]
    expected = [0.06, 0.16, 0.15, 0.035, 1.0, 0.16, 1.0, 0.0016]
    assert holm_correction(p_values) == pytest.approx(expected, abs=1e-12)


p_lists = st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02]), max_size=12)


@given(p_lists)
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = holm_correction(p_values)
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [a for _, a in pairs] == sorted(adjusted)
    assert all(p <= a <= 1 for p, a in pairs)
    assert len({p for p, _ in pairs}) >= len({a for _, a in pairs})  # equals stay equal


@given(p_lists.filter(bool), st.data())
def test_a_larger_p_value_lowers_nothing(p_values: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(p_values) - 1))
    raised = list(p_values)
    raised[place] = data.draw(st.floats(p_values[place], 1))
    assert all(
        b >= a for a, b in zip(holm_correction(p_values), holm_correction(raised), strict=True)
    )


@given(p_lists, st.randoms(use_true_random=False))
def test_holm_follows_a_permutation(p_values: list[float], random: Any) -> None:
    order = random.sample(range(len(p_values)), len(p_values))
    adjusted = holm_correction(p_values)
    assert holm_correction([p_values[i] for i in order]) == [adjusted[i] for i in order]


# Spread


def outcomes(right: Sequence[bool], **columns: Sequence[str | None]) -> list[Prediction]:
    return [
        prediction(RIGHT if hit else WRONG, **{name: given[i] for name, given in columns.items()})
        for i, hit in enumerate(right)
    ]


def test_spread_by_hand() -> None:
    # mean 1/2; residuals per cluster: 1/2 + 1/2 = 1, -1/2 - 1/2 = -1, 1/2 - 1/2 = 0
    predictions = outcomes([True, True, False, False, True, False], group=list("aabbcc"))
    found = estimate_clustered_spread(predictions)
    assert found.standard_error == pytest.approx(math.sqrt(0.25 / 6))
    assert found.clustered == pytest.approx(math.sqrt(2) / 6)
    assert (found.by, found.clusters) == ("group", 3)


def test_a_question_without_a_cluster_stands_alone() -> None:
    # mean 3/4; clusters: a: 1/4 + 1/4, alone: 1/4, alone: -3/4 -> 1/4 + 1/16 + 9/16 = 14/16
    predictions = outcomes([True, True, True, False], group=["a", "a", None, None])
    found = estimate_clustered_spread(predictions)
    assert found.clustered == pytest.approx(math.sqrt(14 / 16) / 4)
    assert found.clusters == 3


# statsmodels 0.15.0: OLS(right, ones).fit(cov_type="cluster", cov_kwds={"groups": clusters,
# "use_correction": False}).bse[0]
@pytest.mark.parametrize(
    ("n", "modulus", "expected"),
    [
        (60, 11, 0.045963619537495705),
        (100, 7, 0.16474853565358327),
        (40, 23, 0.02072890493972125),
    ],
)
def test_the_clustered_error_agrees_with_statsmodels(n: int, modulus: int, expected: float) -> None:
    right = [i * i % 7 < 3 for i in range(n)]
    clusters = [str((i * i + 3 * i) % modulus) for i in range(n)]
    assert estimate_clustered_spread(outcomes(right, topic=clusters)).clustered == pytest.approx(
        expected, rel=1e-12
    )


def test_clusters_are_groups_then_topics_then_subjects() -> None:
    right = [True, False, True, False]
    shared, own = ["x", "x", "y", "y"], ["1", "2", "3", "4"]
    assert (
        estimate_clustered_spread(outcomes(right, group=shared, topic=shared, subject=shared)).by
        == "group"
    )
    assert (
        estimate_clustered_spread(outcomes(right, group=own, topic=shared, subject=shared)).by
        == "topic"
    )
    assert estimate_clustered_spread(outcomes(right, topic=own, subject=shared)).by == "subject"


@pytest.mark.parametrize("subjects", [["1", "2", "3"], [None] * 3, ["x"] * 3])
def test_no_clusters_or_one_say_nothing(subjects: list[str | None]) -> None:
    found = estimate_clustered_spread(outcomes([True, False, True], subject=subjects))
    assert (found.clustered, found.by, found.clusters) == (None, None, None)
    assert found.standard_error == pytest.approx(math.sqrt(2 / 9 / 3))


def test_questions_that_go_together_say_less() -> None:
    together = estimate_clustered_spread(
        outcomes([True] * 10 + [False] * 10, group=["a"] * 10 + ["b"] * 10)
    )
    assert together.clustered == pytest.approx(math.sqrt(50) / 20)
    assert together.clustered is not None
    assert together.clustered > together.standard_error


# Properties of both

predictions_lists = st.lists(
    st.builds(
        lambda outcome, subject, topic, group, negated, length, answer, width: prediction(
            outcome,
            subject=subject,
            topic=topic,
            group=group,
            stem=("Not " if negated else "") + "x" * length,
            options=tuple(map(str, range(width))),
            answer=answer,
        ),
        st.sampled_from([RIGHT, WRONG, UNPARSED, Outcome.ABSTAINED]),
        st.sampled_from([None, "a", "b", "c"]),
        st.sampled_from([None, "p", "q"]),
        st.sampled_from([None, "g", "h"]),
        st.booleans(),
        st.integers(1, 1600),
        st.integers(0, 1),
        st.integers(2, 4),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(predictions_lists)
def test_slices_add_up(predictions: list[Prediction]) -> None:
    slices = break_down_accuracy(predictions)
    correct = sum(p.outcome == RIGHT for p in predictions)
    for dimension in {s.dimension for s in slices}:
        own = [s for s in slices if s.dimension == dimension]
        assert len(own) > 1
        assert sum(s.accuracy.n for s in own) == len(predictions)
        assert sum(s.accuracy.value * s.accuracy.n for s in own) == pytest.approx(correct)
    for found in slices:
        assert found.rest is not None
        assert found.rest.n + found.accuracy.n == len(predictions)
        assert found.answer_rate.value >= found.accuracy.value


@settings(max_examples=60)
@given(predictions_lists, st.randoms(use_true_random=False))
def test_the_order_of_the_predictions_does_not_count(
    predictions: list[Prediction], random: Any
) -> None:
    shuffled = random.sample(predictions, len(predictions))
    assert break_down_accuracy(shuffled) == break_down_accuracy(predictions)
    assert estimate_clustered_spread(shuffled) == estimate_clustered_spread(predictions)
