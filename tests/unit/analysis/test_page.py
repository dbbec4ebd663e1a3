from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from medtune.analysis.page import count, interval, marked, percent
from medtune.core.records import Proportion


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
