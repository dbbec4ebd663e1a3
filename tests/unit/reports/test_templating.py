from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from medtune.core.formatting import (
    format_count,
    format_interval,
    format_percent,
    format_signed_points,
)
from medtune.core.records import Outcome, Prediction, Proportion
from medtune.reports.templating import (
    format_p_value_or_dash,
    format_prediction,
    highlight_differences,
    make_html_id,
)


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        ("same words", "same words", "same words"),
        ("Same words?", "same WORDS", "Same words?"),
        ("causes scurvy", "leads to scurvy", "<mark>causes</mark> scurvy"),
        ("one two three", "one three", "one <mark>two</mark> three"),
        ("all new", "", "<mark>all new</mark>"),
        ("", "all new", ""),
        ("a <b> c", "a c", "a <mark>&lt;b&gt;</mark> c"),
    ],
)
def test_what_differs_is_marked(text: str, other: str, expected: str) -> None:
    assert highlight_differences(text, other) == Markup(expected)


@given(st.text(), st.text())
def test_marking_loses_no_word_and_lets_no_markup_through(text: str, other: str) -> None:
    found = highlight_differences(text, other)
    plain = found.replace("<mark>", "").replace("</mark>", "")
    assert Markup(plain).unescape().split() == text.split()
    assert "<" not in plain


def test_numbers_are_written_one_way() -> None:
    assert format_percent(0.12345) == "12.3"
    assert format_count(1234567) == "1,234,567"
    assert format_interval(Proportion(value=0.3, low=0.14551, high=0.519, n=20)) == "14.6–51.9"
    assert format_signed_points(0.1234) == "+12.3"
    assert format_signed_points(-0.004) == "-0.4"
    assert (
        format_p_value_or_dash(None),
        format_p_value_or_dash(0.00009),
        format_p_value_or_dash(0.0001),
    ) == ("–", "< 0.0001", "0.0001")


def test_an_answer_is_said_with_what_is_known_of_it() -> None:
    answer = Prediction(
        id="q",
        stem="Which?",
        options=("iron", "zinc"),
        answer=0,
        chosen=1,
        outcome=Outcome.WRONG,
    )
    assert format_prediction(answer) == "B. zinc"
    assert (
        format_prediction(answer.model_copy(update={"probabilities": (0.25, 0.75)}))
        == "B. zinc (75 %)"
    )
    none = {"chosen": None, "outcome": Outcome.UNPARSED}
    assert (
        format_prediction(answer.model_copy(update={**none, "text": "Well"})) == "(unparsed) Well"
    )
    assert (
        format_prediction(answer.model_copy(update={**none, "outcome": Outcome.ABSTAINED}))
        == "(abstained)"
    )


def test_ids_can_be_read_where_names_are_plain() -> None:
    assert make_html_id("Forensic Medicine") == "forensic-medicine"
    names = ["A/B", "A B", "A-B", "A+B", "Ä", "Ö", "", "<b>"]
    assert len({make_html_id(name) for name in names}) == len(names)


@given(st.text())
def test_ids_are_one_word_of_letters_and_digits(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", make_html_id(text))
