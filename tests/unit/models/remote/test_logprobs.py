from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.errors import RemoteError
from medtune.models.remote.logprobs import (
    check_logprob,
    compute_letter_logprobs,
    match_ending,
    parse_top_logprobs,
)

LOG = math.log


def test_spellings_are_added_up_and_look_alikes_are_not() -> None:
    listed = [
        ("A", LOG(0.2)),
        (" A", LOG(0.1)),
        ("A\n", LOG(0.05)),
        ("\u2581A", LOG(0.02)),
        ("\u0120A", LOG(0.01)),
        ("a", LOG(0.3)),
        ("A.", LOG(0.04)),
        ("AB", LOG(0.03)),
        ("B", LOG(0.15)),
    ]
    (a, b), missing = compute_letter_logprobs(listed, ["A", "B"])
    assert a == pytest.approx(LOG(0.38))
    assert b == pytest.approx(LOG(0.15))
    assert missing == 0


def test_a_missing_letter_gets_the_least_listed_if_more_than_that_is_left() -> None:
    (a, b), missing = compute_letter_logprobs([("A", LOG(0.5)), ("x", LOG(0.1))], ["A", "B"])
    assert missing == 1
    assert LOG(0.1) - 1e-5 < b < LOG(0.1) < a


def test_missing_letters_share_what_is_left_if_that_is_less() -> None:
    listed = [("A", LOG(0.5)), ("x", LOG(0.44))]
    (_, b, c, d), missing = compute_letter_logprobs(listed, ["A", "B", "C", "D"])
    assert missing == 3
    assert b == c == d == pytest.approx(LOG(0.02))


def test_nothing_left_is_still_a_number() -> None:
    (_, b), _ = compute_letter_logprobs([("A", 0.0)], ["A", "B"])
    assert b == pytest.approx(LOG(1e-9))


def test_a_listed_letter_wins_against_one_that_is_not() -> None:
    (a, b), _ = compute_letter_logprobs([("x", LOG(0.5)), ("B", LOG(0.01))], ["A", "B"])
    assert a < b


@given(
    st.dictionaries(
        st.sampled_from([*"ABCDxyz", " A", " B", "\nC", "The"]),
        st.floats(0.001, 1.0),
        min_size=1,
    ),
    st.floats(0.0, 0.9),
)
def test_the_mass_is_at_most_one_and_at_least_what_is_listed(
    weights: dict[str, float], rest: float
) -> None:
    total = sum(weights.values()) / (1 - rest)
    listed = [(token, LOG(weight / total)) for token, weight in weights.items()]
    logs, missing = compute_letter_logprobs(listed, "ABCD")
    mass = sum(map(math.exp, logs))
    named = sum(math.exp(log) for token, log in listed if token.strip() in set("ABCD"))
    assert named - 1e-9 <= mass <= 1 + 1e-6
    assert missing == len(set("ABCD") - {token.strip() for token in weights})
    assert all(log <= 0 for log in logs)
    spelt = [token.strip() for token in weights]
    for letter, log in zip("ABCD", logs, strict=True):
        if letter not in spelt:
            assert log < min(value for _, value in listed)


def test_numbers_too_small_for_an_exponential_are_kept_apart_from_errors() -> None:
    """llama-server writes the least float for a probability of 0."""
    (a, b), missing = compute_letter_logprobs([("x", 0.0), ("A", -3.4e38)], ["A", "B"])
    assert missing == 1
    assert math.isfinite(a)
    assert b == pytest.approx(-3.4e38)


@pytest.mark.parametrize("value", [1e-7, 0, 0.0, -0.0])
def test_rounding_above_zero_is_zero(value: float) -> None:
    assert check_logprob(value) == 0.0


@pytest.mark.parametrize("value", [0.01, None, "x", True, False, math.nan, [-1.0]])
def test_other_things_are_not_log_probabilities(value: object) -> None:
    with pytest.raises(RemoteError, match="as a log-probability"):
        check_logprob(value)


@pytest.mark.parametrize(
    "shape",
    [
        {"content": [{"top_logprobs": [{"token": "A", "logprob": -1}]}]},
        {"tokens": ["A"], "token_logprobs": [-1], "top_logprobs": [{"A": -1}]},
    ],
)
def test_both_shapes_are_read(shape: object) -> None:
    assert parse_top_logprobs(shape) == [("A", -1.0)]


@pytest.mark.parametrize(
    ("tokens", "text", "values"),
    [
        (["The", " answer", ":", " Vit", "amin"], " Vitamin", [3, 4]),
        (["The", " answer: Vit", "amin"], " Vitamin", [1, 2]),
        (["x", " Vitamin", ""], " Vitamin", [1, 2]),
        ([" A"], "A", [0]),
    ],
)
def test_the_tokens_of_a_text_are_those_that_hold_it(
    tokens: list[str], text: str, values: list[int]
) -> None:
    assert match_ending([(token, i) for i, token in enumerate(tokens)], text) == values


@pytest.mark.parametrize("tokens", [["x", " \ufffd", "\ufffdg"], ["\u0120µg"], ["g"]])
def test_tokens_that_do_not_spell_the_text_are_refused(tokens: list[str]) -> None:
    with pytest.raises(RemoteError, match="name the model's tokenizer"):
        match_ending([(token, -1.0) for token in tokens], " µg")
