from __future__ import annotations

import pytest

from medtune.retrieval.words import WordSplitter


def test_words_are_folded_stemmed_and_kept_in_order() -> None:
    splitter = WordSplitter("english")
    assert splitter.split("The Vitamins ARE given, of course: vitamin A") == [
        *("vitamin", "given", "cours", "vitamin", "a")
    ]
    assert splitter.split("Maße") == splitter.split("MASSE")


def test_function_words_go_and_single_letters_stay() -> None:
    assert WordSplitter("none").split("which of the following is vitamin B") == ["vitamin", "b"]


@pytest.mark.parametrize(
    ("stemmer", "stem"),
    [("english", "behandlungen"), ("german", "behandl"), ("none", "behandlungen")],
)
def test_the_stemmer_is_of_a_language(stemmer: str, stem: str) -> None:
    assert WordSplitter(stemmer).split("Behandlungen") == [stem]


def test_a_word_without_a_stem_stays_a_word() -> None:
    assert WordSplitter("english").split("_ 中 5") == ["_", "中", "5"]
