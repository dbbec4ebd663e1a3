from __future__ import annotations

import pytest

from medtune.evaluation.parsing.notebook import (
    match_output,
    normalize_output,
    sample_evaluation_rows,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  The Answer is:  Vitamin C. ", "the answer is vitamin c"),
        ("beta-blocker", "betablocker"),  # punctuation is dropped, not replaced by a space
        ("a\n\tb", "a b"),
        ("Ménière’s", "ménière’s"),  # only ASCII punctuation, no accents folded
        ("!?", ""),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize_output(text) == normal


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ("The answer is: Ganciclovir", "ganciclovir", "exact"),
        # bugs that are kept: a dump, a negation, and a part of another word are "exact"
        ("A. Brain B. Lungs C. Liver", "Lungs", "exact"),
        ("It is not Ganciclovir", "Ganciclovir", "exact"),
        ("Valganciclovir", "Ganciclovir", "exact"),
        ("lymphocyte-predominant HD", "lymphocyte-predominant Hodgkin disease (HD)", "no_match"),
        ("", "Ganciclovir", "no_match"),
        ("...", "Ganciclovir", "no_match"),
        ("Ganciclovir", "...", "no_match"),
        ("of the", "in a", "no_match"),  # nothing but stop words on either side
    ],
)
def test_match(prediction: str, truth: str, expected: str) -> None:
    assert match_output(prediction, truth) == expected


def test_the_jaccard_boundary() -> None:
    # 7 of 10 words are shared: 7 / 10 = 0.7 is enough.
    truth = "w1 w2 w3 w4 w5 w6 w7 t1"
    assert match_output("w1 w2 w3 w4 w5 w6 w7 p1 p2", truth) == "partial"
    # One more word: 7 / 11 = 0.636.
    assert match_output("w1 w2 w3 w4 w5 w6 w7 p1 p2 p3", truth) == "no_match"
    # 2 of 3: 0.667 is not enough; 3 of 4: 0.75 is.
    assert match_output("acute renal injury", "acute renal") == "exact"
    assert match_output("renal acute injury", "acute renal") == "no_match"
    assert match_output("failure renal acute injury", "acute renal failure") == "partial"


def test_stop_words_do_not_count() -> None:
    # {rupture, spleen} on both sides once "of", "the", "a" are gone: 2 / 2.
    assert match_output("spleen, the rupture of", "rupture of a spleen") == "partial"
    # "not" and "answer" are no stop words: {answer, spleen, rupture}, 2 / 3.
    assert match_output("the answer is: spleen rupture", "rupture of a spleen") == "no_match"


def test_sample_indices_are_the_notebooks() -> None:
    # fmt: off
    assert sample_evaluation_rows(182822, 1000, 20, 42) == [
        167621, 29184, 6556, 72097, 64196, 58513, 36579, 26868, 177392, 142964,
        22790, 154794, 110604, 8331, 7811, 24561, 57314, 60990, 132475, 157815,
    ]
    # fmt: on


def test_sample_indices_are_distinct_and_within_the_rows_after_the_cutoff() -> None:
    drawn = sample_evaluation_rows(30, 10, 20, 1)
    assert sorted(drawn) == list(range(20))


@pytest.mark.parametrize(("rows", "cutoff"), [(29, 10), (10, 10), (5, 10)])
def test_sample_indices_refuse_too_few_rows(rows: int, cutoff: int) -> None:
    with pytest.raises(ValueError):
        sample_evaluation_rows(rows, cutoff, 20, 1)
