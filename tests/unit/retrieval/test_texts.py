from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.retrieval.texts import cut_text


def test_short_paragraphs_share_a_passage_up_to_its_most_words() -> None:
    text = "one two\nthree\n\nfour five\n \nsix seven eight"
    assert cut_text(text, 5) == ["one two three\nfour five", "six seven eight"]
    assert cut_text(text, 8) == ["one two three\nfour five\nsix seven eight"]


def test_a_long_paragraph_is_cut_at_sentences_and_a_long_sentence_between_words() -> None:
    text = 'Give 0.5 mg. It said "Wait." Then e.g. nothing. One two three four five six seven.'
    assert cut_text(text, 5) == [
        "Give 0.5 mg.",
        'It said "Wait."',
        "Then e.g. nothing.",
        "One two three four five",
        "six seven.",
    ]


def test_every_passage_begins_with_the_title_which_counts() -> None:
    assert cut_text("a b c\n\nd e f g", 6, "Drug > Dose") == [
        "Drug > Dose\na b c",
        "Drug > Dose\nd e f",
        "Drug > Dose\ng",
    ]


def test_of_a_long_title_the_end_is_kept() -> None:
    assert cut_text("a b c", 4, "Book > Chapter > Dose") == ["> Dose\na b", "> Dose\nc"]
    assert cut_text("a b", 1, "Dose") == ["a", "b"]


@pytest.mark.parametrize("text", ["", " \n\n \t "])
def test_a_text_without_words_has_no_passage(text: str) -> None:
    assert cut_text(text, 5, "Title") == []


def test_sentences_of_a_language_without_spaces() -> None:
    assert cut_text("一。二。", 1) == ["一。二。"]  # one word, as words are split


@given(
    st.text(alphabet="ab.?! \n中。", max_size=200),
    st.integers(1, 9),
    st.none() | st.text(alphabet="x y", max_size=20),
)
def test_no_word_is_lost_and_none_too_many(text: str, words: int, title: str | None) -> None:
    pieces = cut_text(text, words, title)
    assert all(len(piece.split()) <= words for piece in pieces)
    kept = "".join("".join(piece.split()) for piece in cut_text(text, words))
    assert kept == "".join(text.split())
