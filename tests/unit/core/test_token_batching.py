from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.token_batching import batch_by_token_budget, group_epoch_by_length

LENGTHS = st.lists(st.integers(1, 200), max_size=80)


def test_a_budget_by_hand() -> None:
    # Longest first: 5 alone (2 x 5 > 8), 4 and 3 together (2 x 4 = 8), then both ones.
    assert batch_by_token_budget([3, 1, 4, 1, 5], budget=8, max_batch=3) == [[4], [2, 0], [1, 3]]


def test_a_cut_pays_where_it_saves_more_padding_than_a_pass_costs() -> None:
    # In one batch 3 x 30 positions, 50 of them in vain; cut before the short ones, 30 + 2 x 5.
    assert batch_by_token_budget([5, 30, 5], budget=100, max_batch=8, pass_cost=50) == [[1], [0, 2]]
    assert batch_by_token_budget([5, 30, 5], budget=100, max_batch=8, pass_cost=51) == [[1, 0, 2]]


def cost(batches: list[list[int]], lengths: list[int], pass_cost: int) -> int:
    return sum(len(b) * max(lengths[i] for i in b) + pass_cost for b in batches)


@given(
    st.lists(st.integers(1, 30), max_size=8),
    st.integers(1, 90),
    st.integers(1, 8),
    st.integers(0, 40),
)
def test_no_other_cut_of_the_sorted_sequences_costs_less(
    lengths: list[int], budget: int, most: int, pass_cost: int
) -> None:
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    others = []
    for cuts in itertools.product([False, True], repeat=max(0, len(order) - 1)):
        batches = [order[:1]] if order else []
        for index, cut in zip(order[1:], cuts, strict=True):
            batches += [[index]] if cut else []
            if not cut:
                batches[-1].append(index)
        full = [b for b in batches if len(b) > 1]
        if all(len(b) <= most and len(b) * lengths[b[0]] <= budget for b in full):
            others.append(cost(batches, lengths, pass_cost))
    found = batch_by_token_budget(lengths, budget, most, pass_cost)
    assert cost(found, lengths, pass_cost) == min(others)


def test_a_batch_may_fill_the_budget_but_not_pass_it_by_one() -> None:
    assert batch_by_token_budget([3, 3, 3], budget=9, max_batch=8) == [[0, 1, 2]]
    assert batch_by_token_budget([3, 3, 3], budget=8, max_batch=8) == [[0, 1], [2]]


def test_a_batch_has_no_more_sequences_than_asked() -> None:
    assert batch_by_token_budget([1, 1, 1, 1, 1], budget=100, max_batch=2) == [[0, 1], [2, 3], [4]]


def test_a_sequence_longer_than_the_budget_travels_alone() -> None:
    assert batch_by_token_budget([2, 50, 2], budget=10, max_batch=8) == [[1], [0, 2]]


def test_no_sequences_make_no_batches() -> None:
    assert batch_by_token_budget([], budget=10, max_batch=8) == []


@given(LENGTHS, st.integers(1, 500), st.integers(1, 40))
def test_every_index_travels_once_and_the_budget_holds(
    lengths: list[int], budget: int, most: int
) -> None:
    batches = batch_by_token_budget(lengths, budget, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        positions = len(batch) * max(lengths[index] for index in batch)
        assert len(batch) <= most
        assert positions <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 500), st.integers(1, 40))
def test_the_longest_sequences_come_first(lengths: list[int], budget: int, most: int) -> None:
    order = [lengths[i] for batch in batch_by_token_budget(lengths, budget, most) for i in batch]
    assert order == sorted(lengths, reverse=True)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 99))
def test_an_epoch_holds_every_example_once_in_steps_of_one_size(
    lengths: list[int], batch: int, seed: int
) -> None:
    steps = group_epoch_by_length(lengths, batch, random.Random(seed))
    assert sorted(index for step in steps for index in step) == list(range(len(lengths)))
    full, rest = divmod(len(lengths), batch)
    assert sorted(map(len, steps), reverse=True) == [batch] * full + [rest] * (rest > 0)


@pytest.mark.parametrize(
    ("examples", "sizes"), [(10, [2, 4, 4]), (8, [4, 4]), (3, [3]), (130, [2, *[4] * 32])]
)
def test_only_one_step_is_smaller(examples: int, sizes: list[int]) -> None:
    steps = group_epoch_by_length([7] * examples, 4, random.Random(0))
    assert sorted(map(len, steps)) == sizes


def test_the_same_seed_gives_the_same_epoch_and_another_seed_another() -> None:
    lengths = list(range(10, 74))
    first, again, other = (
        group_epoch_by_length(lengths, 4, random.Random(seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_the_next_epoch_of_one_generator_is_drawn_anew() -> None:
    rng = random.Random(3)
    lengths = list(range(10, 74))
    assert group_epoch_by_length(lengths, 4, rng) != group_epoch_by_length(lengths, 4, rng)


def test_within_a_window_a_step_holds_neighbours_in_length() -> None:
    # 64 examples of distinct length in steps of 4 are one window of 16 steps.
    lengths = random.Random(1).sample(range(1000), 64)
    ranked = sorted(range(64), key=lambda index: lengths[index])
    expected = {frozenset(ranked[at : at + 4]) for at in range(0, 64, 4)}
    assert set(map(frozenset, group_epoch_by_length(lengths, 4, random.Random(2)))) == expected


def test_steps_do_not_come_in_order_of_length() -> None:
    steps = group_epoch_by_length(list(range(64)), 4, random.Random(2))
    assert steps != sorted(steps)
