from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from medtune.core.formatting import count, interval, percent, signed
from medtune.core.records import Outcome, Prediction, Proportion
from medtune.reports.templating import anchor, marked, p_value, said


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
    assert marked(text, other) == Markup(expected)


@given(st.text(), st.text())
def test_marking_loses_no_word_and_lets_no_markup_through(text: str, other: str) -> None:
    found = marked(text, other)
    plain = found.replace("<mark>", "").replace("</mark>", "")
    assert Markup(plain).unescape().split() == text.split()
    assert "<" not in plain


def test_numbers_are_written_one_way() -> None:
    assert percent(0.12345) == "12.3"
    assert count(1234567) == "1,234,567"
    assert interval(Proportion(value=0.3, low=0.14551, high=0.519, n=20)) == "14.6–51.9"
    assert signed(0.1234) == "+12.3"
    assert signed(-0.004) == "-0.4"
    assert (p_value(None), p_value(0.00009), p_value(0.0001)) == ("–", "< 0.0001", "0.0001")


def test_an_answer_is_said_with_what_is_known_of_it() -> None:
    answer = Prediction(
        id="q",
        stem="Which?",
        options=("iron", "zinc"),
        answer=0,
        chosen=1,
        outcome=Outcome.WRONG,
    )
    assert said(answer) == "B. zinc"
    assert said(answer.model_copy(update={"probabilities": (0.25, 0.75)})) == "B. zinc (75 %)"
    none = {"chosen": None, "outcome": Outcome.UNPARSED}
    assert said(answer.model_copy(update={**none, "text": "Well"})) == "(unparsed) Well"
    assert said(answer.model_copy(update={**none, "outcome": Outcome.ABSTAINED})) == "(abstained)"


def test_ids_can_be_read_where_names_are_plain() -> None:
    assert anchor("Forensic Medicine") == "forensic-medicine"
    names = ["A/B", "A B", "A-B", "A+B", "Ä", "Ö", "", "<b>"]
    assert len({anchor(name) for name in names}) == len(names)


@given(st.text())
def test_ids_are_one_word_of_letters_and_digits(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", anchor(text))
