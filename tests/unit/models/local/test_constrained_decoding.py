from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.models.local.constrained_decoding import Choices, allowed_tokens

END = 99


def test_every_answer_is_closed_by_the_end() -> None:
    choices = Choices.from_ids([[1, 2], [3]], END)
    assert choices.answers == ((1, 2, END), (3, END))
    assert choices.max_length == 3


def test_only_what_goes_on_to_an_answer_may_follow() -> None:
    choices = Choices.from_ids([[5, 1], [5, 2], [4]], END)
    assert choices.next_tokens([]) == [4, 5]
    assert choices.next_tokens([5]) == [1, 2]
    assert choices.next_tokens([4]) == [END]
    assert choices.next_tokens([5, 2]) == [END]


def test_an_answer_that_begins_another_may_end_or_go_on() -> None:
    choices = Choices.from_ids([[7], [7, 8, 9]], END)
    assert choices.next_tokens([7]) == [8, END]
    assert choices.next_tokens([7, 8]) == [9]


@pytest.mark.parametrize("written", [[7, END], [7, END, 0], [7, END, END, END], [1, 2]], ids=str)
def test_after_a_whole_answer_there_is_only_the_end(written: list[int]) -> None:
    # Rows that are done are filled up while others go on.
    assert Choices.from_ids([[7], [7, 8]], END).next_tokens(written) == [END]


def test_equal_answers_are_one() -> None:
    assert Choices.from_ids([[7, 8], [7, 8]], END).next_tokens([7]) == [8]


def test_a_free_answer_may_go_on_with_anything() -> None:
    assert allowed_tokens(None, [1, 2], 5) == [0, 1, 2, 3, 4]
    assert allowed_tokens(Choices.from_ids([[3]], END), [], 5) == [3]


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=5),
    st.data(),
)
def test_any_walk_writes_an_answer_and_each_can_be_walked(
    answers: list[list[int]], data: st.DataObject
) -> None:
    choices = Choices.from_ids(answers, END)
    walk: list[int] = []
    while not walk or walk[-1] != END:
        walk.append(data.draw(st.sampled_from(choices.next_tokens(walk))))
        assert len(walk) <= choices.max_length
    assert walk[:-1] in answers
    for answer in choices.answers:
        assert all(token in choices.next_tokens(answer[:at]) for at, token in enumerate(answer))
