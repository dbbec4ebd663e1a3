from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medtune.core.records import Question
from medtune.data.dedup.canonical_form import (
    canonicalize_question,
    canonicalize_text,
    word_difference,
)
from medtune.data.load import load_split

# Texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Vitamin C", "vitamin c"),
        ("  VITAMIN\n C. ", "vitamin c"),
        ("Anti-D (Rh)", "anti d rh"),
        ("The nerve is ____", "the nerve is"),
        ("C_C chemokine", "c c chemokine"),
        ("Sjögren's syndrome", "sjogren s syndrome"),
        ("Sjo\u0308gren", "sjogren"),
        ("ﬁbrosis", "fibrosis"),
        ("CO₂", "co2"),
        ("37 ℃", "37 c"),
        ("37 °C", "37 c"),
        ("Ⅳ", "iv"),
        ("STRAẞE", "strasse"),
        ("K", "k"),
        # Signs are options of their own.
        ("<7", "<7"),
        (">7", ">7"),
        ("≥ 7 %", "≥ 7 %"),
        ("Na+", "na+"),
        ("--", "--"),
        ("+", "+"),
        ("?", "?"),
        ("___", "___"),
        # Numbers
        ("Two kidneys", "2 kidneys"),
        ("twelve days", "12 days"),
        ("fifteen", "fifteen"),
        ("One", "1"),
        ("after one hour", "after 1 hour"),
        ("Which one of the following", "which one of the following"),
        ("Which one is", "which one is"),
        ("One of these", "one of these"),
        ("none of these", "none of these"),
        ("one or two of them", "1 or 2 of them"),
        # Negations
        ("doesn't", "does not"),
        ("DOESN’T", "does not"),
        ("isn't it", "is not it"),
        # Two ways of spelling
        ("anaemia", "anemia"),
        ("aetiology", "etiology"),
        ("oedema", "edema"),
        ("tumour", "tumor"),
        ("tumours", "tumors"),
        ("coloured", "colored"),
        ("immunisation", "immunization"),
        ("litre", "liter"),
        ("fibre", "fiber"),
        ("manoeuvre", "maneuver"),
        ("haemorrhage", "hemorrhage"),
        # What MedMCQA lost
        ("important", "impoant"),
        ("impoant", "impoant"),
        ("artery", "aery"),
        ("aery", "aery"),
        ("arteries", "eries"),
        ("aeries", "eries"),
        ("short parts", "sho pas"),
        # Not each -re is British.
        ("compare the features", "compare the features"),
    ],
)
def test_a_text_is_folded(text: str, expected: str) -> None:
    assert canonicalize_text(text) == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("<7", ">7"),
        ("Na+", "Na"),
        ("10 %", "10"),
        ("IgG", "IgM"),
        ("B12", "B1"),
        ("heat", "heart"),
        ("type 1", "type 2"),
        ("hyperkalaemia", "hypokalaemia"),
        ("with", "without"),
        ("μg", "mg"),
    ],
)
def test_what_makes_another_option_is_not_folded_away(a: str, b: str) -> None:
    assert canonicalize_text(a) != canonicalize_text(b)


@given(st.text(max_size=30))
def test_a_text_with_something_in_it_never_folds_to_nothing(text: str) -> None:
    # But for accents that stand alone.
    assert canonicalize_text(text + "x")
    assert canonicalize_text(text) == canonicalize_text(f" {text}\n")


WORDS = st.sampled_from(
    sorted(
        {
            word
            for question in load_split("starter:train").questions
            for word in " ".join((question.stem, *question.options)).split()
        }
        | set("One one of which Which two doesn't DOESN’T 37℃ Ⅳ ___ < Na+ important tumour".split())
    )
)


@given(st.lists(WORDS, min_size=1, max_size=12).map(" ".join))
@settings(max_examples=300)
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert canonicalize_text(canonicalize_text(text)) == canonicalize_text(text)


@given(st.lists(WORDS, min_size=1, max_size=12).map(" ".join))
def test_case_spaces_and_stops_do_not_count(text: str) -> None:
    # Where signs are all there is, they count.
    assume(re.search(r"[^\W_]", text))
    assert (
        canonicalize_text(text.upper())
        == canonicalize_text(text.lower())
        == canonicalize_text(f"({text.replace(' ', '  ')}).")
    )


# Questions


def question(stem: str, *options: str, answer: int | None = 0) -> Question:
    return Question(id="q", stem=stem, options=options or ("Yes", "No"), answer=answer)


def test_a_question_is_folded_with_its_options_sorted() -> None:
    this = canonicalize_question(
        question("Q. Tumour of the ___ (AIIMS 12)", "Ovary", "Heart", "Two", answer=1)
    )
    assert this.stem == "tumor of the"
    assert this.options == ("2", "hea", "ovary")
    assert this.answer == "hea"
    assert this.full_text == "tumor of the\n2\nhea\novary"
    assert not this.negated


def test_a_question_without_label_has_no_answer() -> None:
    assert canonicalize_question(question("Which?", answer=None)).answer is None


def test_the_answer_follows_its_option() -> None:
    for answer, text in enumerate(("beta", "alfa", "gamma")):
        assert (
            canonicalize_question(question("Which?", "Beta", "Alfa", "Gamma", answer=answer)).answer
            == text
        )


@given(st.permutations(["Ovary", "Testis", "Breast", "Two", "<7"]))
def test_the_order_of_options_does_not_count(options: list[str]) -> None:
    shown = question("Which?", *options, answer=options.index("Breast"))
    first = question("Which?", "Breast", "Two", "<7", "Ovary", "Testis")
    assert canonicalize_question(shown) == canonicalize_question(first)


def test_what_is_folded_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        canonicalize_question(question("Which?")).stem = "x"  # type: ignore[misc]


# Polarity


@pytest.mark.parametrize(
    "stem",
    [
        "All are true EXCEPT:",
        "Which is NOT a cause?",
        "Which isn't a cause?",
        "Which doesn’t cross the placenta?",
        "False about measles is",
        "Least likely is",
        "Incorrect statement is",
        "The drug contraindicated in pregnancy",
    ],
)
def test_a_question_for_the_exception_is_negated(stem: str) -> None:
    assert canonicalize_question(question(stem)).negated


@pytest.mark.parametrize(
    "stem", ["Which is a cause?", "The nodes of Ranvier", "A knotted thread", "Nothing noteworthy"]
)
def test_other_questions_are_not(stem: str) -> None:
    assert not canonicalize_question(question(stem)).negated


# Differences


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a b c", "a b c", ([], [])),
        ("a b c", "c b a", ([], [])),
        ("a b c", "a d c", (["b"], ["d"])),
        ("a a b", "a b b", (["a"], ["b"])),
        ("a", "", (["a"], [])),
        ("", "b a", ([], ["b", "a"])),
        ("x x x", "x", (["x", "x"], [])),
    ],
)
def test_words_that_only_one_has_are_counted(
    a: str, b: str, expected: tuple[list[str], list[str]]
) -> None:
    assert word_difference(a, b) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.5 mg", "1-5 mg"), ("-2 D", "2 D"), ("0.05", "0 05"), ("pH 7.4", "pH 7, 4")],
)
def test_points_and_minus_signs_of_numbers_count(one: str, other: str) -> None:
    assert canonicalize_text(one) != canonicalize_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1,000 units", "1000 units"), ("10-12 days", "10 - 12 days"), ("10 -12 days", "10-12 days")],
)
def test_other_marks_in_numbers_do_not(one: str, other: str) -> None:
    assert canonicalize_text(one) == canonicalize_text(other)
