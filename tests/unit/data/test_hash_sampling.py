from __future__ import annotations

import hashlib
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.data.hash_sampling import allocate_proportionally, order_by_hash, sampling_hash

NAMES = st.sampled_from("abcdefgh")
GROUPS = st.dictionaries(
    NAMES, st.tuples(st.floats(0, 1e6, allow_subnormal=False), st.integers(0, 200)), min_size=1
)


# Lots


@pytest.mark.parametrize(
    ("seed", "name", "start"),
    [
        (0, "q1", "c36389fc"),
        (17, "q1", "8f097f6c"),
        (17, "q2", "857f3b77"),
        (17, "é", "1b2a20e2"),
    ],
)
def test_lots_are_the_same_on_every_machine(seed: int, name: str, start: str) -> None:
    assert sampling_hash(seed, name).hex()[:8] == start


def test_a_lot_is_a_hash_of_seed_and_name() -> None:
    assert sampling_hash(17, "q1") == hashlib.sha256(b"17\nq1").digest()


def test_seed_and_name_do_not_run_into_each_other() -> None:
    assert sampling_hash(1, "7q") != sampling_hash(17, "q")


def test_a_name_that_cannot_be_encoded_has_a_lot() -> None:
    assert sampling_hash(0, "\ud83d") != sampling_hash(0, "\ud83e")


def test_the_lowest_lot_comes_first() -> None:
    names = [f"q{n}" for n in range(50)]
    order = order_by_hash(17, names)
    lots = [sampling_hash(17, names[place]) for place in order]
    assert lots == sorted(lots)
    assert sorted(order) == list(range(50))
    assert order != list(range(50))


def test_equal_names_keep_their_order() -> None:
    assert order_by_hash(3, ["x", "x", "x"]) == [0, 1, 2]


def test_no_names_have_no_order() -> None:
    assert order_by_hash(3, []) == []


@given(st.sets(st.text(max_size=5), min_size=1), st.text(max_size=5), st.integers(0, 99))
def test_a_name_that_joins_moves_no_other(names: set[str], joining: str, seed: int) -> None:
    before = sorted(names)
    after = [*before, joining]
    order = [after[place] for place in order_by_hash(seed, after) if place != len(before)]
    assert order == [before[place] for place in order_by_hash(seed, before)]


def test_another_seed_draws_others() -> None:
    names = [f"q{n}" for n in range(100)]
    assert set(order_by_hash(1, names)[:20]) != set(order_by_hash(2, names)[:20])


def test_lots_are_even() -> None:
    # A mean of 4,000 uniform numbers lies within five standard errors of a half.
    values = [int.from_bytes(sampling_hash(5, f"q{n}")[:4]) / 2**32 for n in range(4000)]
    assert abs(sum(values) / 4000 - 0.5) < 5 * math.sqrt(1 / 12 / 4000)


# Shares


@pytest.mark.parametrize(
    ("total", "weights", "most", "expected"),
    [
        # 3.33 each: one is left, and the tie goes by name.
        (10, {"c": 1, "a": 1, "b": 1}, {"a": 9, "b": 9, "c": 9}, {"c": 3, "a": 4, "b": 3}),
        # 4.8, 3.2, 2: the largest remainder takes what is left.
        (10, {"a": 48, "b": 32, "c": 20}, {"a": 9, "b": 9, "c": 9}, {"a": 5, "b": 3, "c": 2}),
        # a can take 2 of its 5; the 8 others are shared 3 to 2: 4.8 and 3.2.
        (10, {"a": 5, "b": 3, "c": 2}, {"a": 2, "b": 9, "c": 9}, {"a": 2, "b": 5, "c": 3}),
        # b is full only after a was: 12 as 8, 2, 2; a takes 1; 11 as 5.5, 5.5; b takes 5; c 6.
        (12, {"a": 4, "b": 1, "c": 1}, {"a": 1, "b": 5, "c": 9}, {"a": 1, "b": 5, "c": 6}),
        # Nothing that can be taken is left out.
        (10, {"a": 1, "b": 99}, {"a": 3, "b": 4}, {"a": 3, "b": 4}),
        (0, {"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 0, "b": 0}),
        # Nothing weighs nothing.
        (5, {"a": 0, "b": 2}, {"a": 3, "b": 4}, {"a": 0, "b": 4}),
        (5, {"a": 0.0}, {"a": 3}, {"a": 0}),
        (5, {}, {}, {}),
        (1, {"a": 0.1, "b": 0.2, "c": 0.3}, {"a": 1, "b": 1, "c": 1}, {"a": 0, "b": 0, "c": 1}),
    ],
)
def test_a_total_is_shared_out(
    total: int, weights: dict[str, float], most: dict[str, int], expected: dict[str, int]
) -> None:
    assert allocate_proportionally(total, weights, most) == expected


@given(GROUPS, st.integers(0, 500))
def test_shares_add_up_and_respect_the_most(
    groups: dict[str, tuple[float, int]], total: int
) -> None:
    weights = {name: weight for name, (weight, _) in groups.items()}
    most = {name: count for name, (_, count) in groups.items()}
    given_out = allocate_proportionally(total, weights, most)
    takers = sum(most[name] for name in weights if weights[name] > 0)
    assert sum(given_out.values()) == min(total, takers)
    assert all(0 <= given_out[name] <= most[name] for name in weights)
    assert all(given_out[name] == 0 for name in weights if weights[name] == 0)


@given(st.dictionaries(NAMES, st.integers(1, 1000), min_size=1), st.data())
def test_without_a_bound_a_share_is_within_one_of_the_ideal(
    counts: dict[str, int], data: st.DataObject
) -> None:
    everything = sum(counts.values())
    total = data.draw(st.integers(0, everything - 1))
    given_out = allocate_proportionally(total, dict(counts), counts)
    for name, count in counts.items():
        assert abs(given_out[name] - total * count / everything) < 1


@given(st.dictionaries(NAMES, st.integers(1, 50), min_size=2), st.integers(0, 300))
def test_the_order_of_the_groups_does_not_matter(counts: dict[str, int], total: int) -> None:
    names = list(counts)
    random.Random(total).shuffle(names)
    shuffled = {name: counts[name] for name in names}
    weights = {name: counts[name] ** 0.5 for name in counts}
    assert allocate_proportionally(total, weights, counts) == allocate_proportionally(
        total, {name: weights[name] for name in names}, shuffled
    )
