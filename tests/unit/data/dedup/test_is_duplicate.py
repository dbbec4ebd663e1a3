from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.records import Question
from medtune.core.schemas.dataset import DuplicateKind
from medtune.data.dedup.canonical_form import CanonicalQuestion, canonicalize_question
from medtune.data.dedup.is_duplicate import (
    answers_conflict,
    duplicate_kind,
    remove_spaces,
    text_similarity,
)
from medtune.data.dedup.paraphrase import expand_abbreviations

NERVES = ("Axillary nerve", "Radial nerve", "Ulnar nerve", "Median nerve")
VITAMINS = ("Vitamin A", "Vitamin B1", "Vitamin C", "Vitamin D")
TISSUE = ("Collagen laid down early in wound repair", "Early wound repair forms collagen marked")
BUGS = ("Pneumococcus", "Klebsiella", "Pseudomonas", "Legionella")


def form(stem: str, options: tuple[str, ...] = NERVES, answer: int | None = 0) -> CanonicalQuestion:
    return canonicalize_question(Question(id="q", stem=stem, options=options, answer=answer))


def labelled() -> list[CanonicalQuestion]:
    lines = Path(__file__).with_name("labelled_pairs.jsonl").read_text().splitlines()
    return [
        canonicalize_question(Question.model_validate({"id": "q", **row[side]}))
        for row in map(json.loads, lines)
        for side in "ab"
    ]


LABELLED = labelled()


def verdict(a: CanonicalQuestion, b: CanonicalQuestion) -> DuplicateKind | None:
    """Judge both ways: the verdict has no direction."""
    found = duplicate_kind(a, b)
    assert duplicate_kind(b, a) == found
    return found


# Exact


@pytest.mark.parametrize(
    "stem",
    [
        "The nerve of the deltoid is",
        "THE NERVE OF THE DELTOID IS:",
        "The nerve of the deltoid is _____",
        "12. The nerve of the deltoid is (AIIMS 2010)",
    ],
)
def test_case_punctuation_and_tags_make_no_other_question(stem: str) -> None:
    assert verdict(form("The nerve of the deltoid is"), form(stem)) == "exact"


@given(st.permutations(range(4)))
def test_options_in_another_order_make_no_other_question(order: list[int]) -> None:
    shown = tuple(NERVES[n] for n in order)
    other = form("Nerve of the deltoid", shown, order.index(0))
    assert verdict(form("Nerve of the deltoid"), other) == "exact"
    assert not answers_conflict(form("Nerve of the deltoid"), other)


def test_another_label_makes_no_other_question_but_a_conflict() -> None:
    a, b = form("Nerve of the deltoid", answer=0), form("Nerve of the deltoid", answer=2)
    assert verdict(a, b) == "exact"
    assert answers_conflict(a, b)
    assert answers_conflict(b, a)


@pytest.mark.parametrize(("mine", "yours"), [(None, 0), (0, None), (None, None)])
def test_a_label_that_is_not_released_conflicts_with_none(
    mine: int | None, yours: int | None
) -> None:
    a, b = form("Nerve of the deltoid", answer=mine), form("Nerve of the deltoid", answer=yours)
    assert verdict(a, b) == "exact"
    assert not answers_conflict(a, b)


# Near: the same stem


def test_the_same_stem_and_fact_with_other_distractors() -> None:
    a = form("The nerve of the deltoid is")
    b = form("The nerve of the deltoid is", ("Sural", "Vagus", "Axillary nerve", "Facial"), 2)
    assert verdict(a, b) == "near"
    assert not answers_conflict(a, b)


def test_the_same_stem_and_other_facts() -> None:
    a = form("True about the ureter is", ("It is 25 cm long", "It has valves", "x", "y"))
    b = form("True about the ureter is", ("It is narrow at the brim", "It is a vein", "z", "w"))
    assert verdict(a, b) is None


@pytest.mark.parametrize(
    "empty",
    ["All of the above", "None of these", "Both", "A and B are correct", "1, 2, 3", "Yes", "abd"],
)
def test_an_answer_that_names_no_fact_is_shared_by_accident(empty: str) -> None:
    a = form("True about asthma is", ("Wheeze", "Cough", "Atopy", empty), 3)
    b = form("True about asthma is", ("Eosinophils", "Spirals", "Crystals", empty), 3)
    assert verdict(a, b) is None


@pytest.mark.parametrize("fact", ["CEA", "ADA", "CD 1a", "5", "C", "Insulin", "No change"])
def test_a_short_answer_is_a_fact_all_the_same(fact: str) -> None:
    a = form("The marker or number sought is", ("Wheeze", "Cough", "Atopy", fact), 3)
    b = form("The marker or number sought is", ("Eosinophils", "Spirals", "Crystals", fact), 3)
    expected = None if fact == "C" else "near"  # "C" may be option C
    assert verdict(a, b) == expected


def test_an_empty_answer_has_no_direction() -> None:
    a = form("Aspirin does it", ("Yes", "None"), 1)
    b = form("Aspirin does it", ("Yes", "Niacin"), 1)
    assert verdict(a, b) is None


def test_all_options_but_one_the_same() -> None:
    a = form("Nerve of the deltoid", answer=None)
    b = form("Nerve of the deltoid", (*NERVES[:3], "Facial nerve"), None)
    assert verdict(a, b) == "near"


def test_two_options_alike_of_four_are_not_enough() -> None:
    a = form("True of nerves", answer=None)
    b = form("True of nerves", (*NERVES[:2], "Facial nerve", "Vagus"), None)
    assert verdict(a, b) is None


def test_one_choice_answered_in_two_ways() -> None:
    a = form("Nerve of the deltoid", answer=0)
    b = form("Nerve of the deltoid", (*NERVES[:3], "Facial nerve"), 1)
    assert verdict(a, b) == "near"
    assert answers_conflict(a, b)


def test_spaces_inside_words_do_not_count() -> None:
    a = form("Anti-D is given after", ("Birth", "Abortion", "Fall", "Flight"))
    b = form("AntiD is given after", ("Birth", "Abortion", "Fall", "Train"))
    assert verdict(a, b) == "near"


def test_a_corrected_typo_is_the_same_answer() -> None:
    a = form("Nerve of the deltoid", ("Axilary nerve", *NERVES[1:]))
    assert verdict(a, form("Nerve of the deltoid")) == "near"
    assert not answers_conflict(a, form("Nerve of the deltoid"))


def test_answers_of_two_numbers_conflict() -> None:
    a = form("Length of the ureter", ("25 cm", "x", "y", "z"))
    b = form("Length of the ureter", ("26 cm", "x", "y", "z"))
    assert answers_conflict(a, b)


# Near: the same options


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Koplik lesions are a sign of", "Koplik lesion is the sign of"),
        ("Which of these nerves supplies the deltoid", "Which nerve supplies the deltoid"),
        (
            "Which one of the following nerves is torn by a fall",
            "Which of the following nerve is torn by a fall",
        ),
        ("One of the following supplies the deltoid", "The following supplies the deltoid"),
        ("The nerve that innervates deltoid", "The nerve that inervates deltoid"),
        ("The deltiod is supplied by", "The deltoid is supplied by"),
        ("Erb's palsy is a lesion of the", "Erb palsy is a lesion of the"),
        ("What's the nerve of the deltoid", "What is the nerve of the deltoid"),
    ],
)
def test_spelling_and_inflection_make_no_other_question(one: str, other: str) -> None:
    assert verdict(form(one), form(other)) == "near"
    # Not even with two labels.
    assert verdict(form(one, answer=0), form(other, answer=1)) == "near"
    assert answers_conflict(form(one, answer=0), form(other, answer=1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Koplik spots are seen in children with", "Koplik spots are found in children with"),
        ("Most common cause of pneumonia", "Commonest cause of pneumonia"),
        ("Treatment of choice for absence", "Drug of choice for absence"),
    ],
)
def test_one_word_replaced_makes_no_other_question(one: str, other: str) -> None:
    assert verdict(form(one, BUGS), form(other, BUGS)) == "near"
    assert verdict(form(one, BUGS), form(other, BUGS, None)) == "near"


def test_one_word_replaced_and_another_label_is_another_question() -> None:
    a = form("Deficiency of which vitamin causes scurvy", VITAMINS, 2)
    b = form("Deficiency of which vitamin causes beriberi", VITAMINS, 1)
    assert verdict(a, b) is None


@pytest.mark.parametrize("options", [("Yes", "No", "Maybe"), ("True", "False"), ("1", "2", "3")])
def test_options_that_say_nothing_do_not_make_a_replaced_word_the_same(
    options: tuple[str, ...],
) -> None:
    a = form("Does aspirin prevent dementia", options)
    b = form("Does warfarin prevent dementia", options)
    assert verdict(a, b) is None
    # Spelling is spelling.
    assert verdict(a, form("Does asprin prevent dementia", options)) == "near"


def test_two_words_replaced_are_two_too_many_where_no_answer_is_known_to_agree() -> None:
    a = form("Sensation over the shoulder is carried by", NERVES, None)
    b = form("Sensation under that eyebrow is carried by", NERVES)
    assert verdict(a, b) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cause of pneumonia after influenza", "Influenza is followed by pneumonia due to"),
        ("Treatment of CAP in adults fails in", "In adults treating community acquired pneumonia"),
        ("A smoker of 60 years has lobar consolidation", "Lobar consolidation in a smoker"),
    ],
)
def test_other_words_for_the_same_answer_make_no_other_question(one: str, other: str) -> None:
    assert verdict(form(one, BUGS), form(other, BUGS)) == "near"
    # Not where an answer differs or is not released, or where options are others.
    for answer in (1, None):
        assert verdict(form(one, BUGS), form(other, BUGS, answer)) is None
    assert verdict(form(one, BUGS), form(other, (*BUGS[:2], "Listeria", "Brucella"))) is None


@pytest.mark.parametrize(
    ("one", "other", "options"),
    [
        # too little in common; what the options say anyway does not count
        ("Nerve torn in a fracture of the humerus", "Nerve of the teres minor", NERVES),
        ("Organism of walking pneumonia", "Organism that has the thickest capsule", BUGS),
        # what is asked for is alike, not what it is asked about
        ("Drug of choice for lobar pneumonia", "Drug of choice for acute otitis", BUGS),
        (
            "Common cause of sudden chills and rusty sputum in a smoker",
            "Common cause of earache in a smoker",
            BUGS,
        ),
        ("Agent causing sinusitis", "Agent causing otitis", BUGS),
        # a little word is no abbreviation: "is" of "initial stage"
        ("Blood culture in fever is kind of", "Any wound at an initial stage comes under", BUGS),
        # numbers, letters, opposites, polarity
        ("Lobar consolidation at 3 years", "At 60 years a lobar consolidation", BUGS),
        ("Pneumonia after influenza A", "Influenza B is followed by pneumonia", BUGS),
        ("Upper lobe consolidation in smokers", "Smokers have consolidation of lower lobe", BUGS),
        ("Lobar consolidation in smokers", "In smokers all cause lobar consolidation except", BUGS),
        # options of a thousand questions
        (*TISSUE, ("Type 1", "Type 3")),
        (*TISSUE, ("A", "B", "AC")),
    ],
)
def test_the_same_options_and_answer_are_not_enough(
    one: str, other: str, options: tuple[str, ...]
) -> None:
    assert verdict(form(one, options), form(other, options)) is None


@pytest.mark.parametrize(
    ("stem", "other", "meant"),
    [
        ("doc in mrsa", "drug of choice in x", "drug of choice in mrsa"),
        ("acute mi", "acute myocardial infarction", "acute myocardial infarction"),
        ("ttn occurs", "transient tachypnea of the newborn", "transient tachypnea newborn occurs"),
        ("ii found", "is it found", "ii found"),  # a number
        ("acute mi", "mi and muscle injury", "acute mi"),  # stands there itself
        ("a b c", "apple berry cherry", "a b c"),
        ("it is", "initial stage", "it is"),  # a little word
    ],
)
def test_abbreviations_are_spelled_out(stem: str, other: str, meant: str) -> None:
    assert expand_abbreviations(stem, other) == meant


def test_in_a_stem_of_two_words_each_one_counts() -> None:
    assert verdict(form("Supplies deltoid"), form("Supplies trapezius")) is None


# What turns a question round


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # numbers
        ("Structure at the level of T8", "Structure at the level of T10"),
        ("The 6th cranial nerve supplies", "The 7th cranial nerve supplies"),
        ("Collagen type IV is found in", "Collagen type II is found in"),
        ("Protein S is deficient after", "Protein C is deficient after"),
        ("Hepatitis A is spread by", "Hepatitis B is spread by"),
        ("Two carpal bones are joined by", "Three carpal bones are joined by"),
        ("After one hour the patient has", "After two hours the patient has"),
        # negation
        ("A cause of clubbing is", "Not a cause of clubbing is"),
        ("All are true of asthma", "All are true of asthma except"),
        ("Which drug crosses the placenta", "Which drug doesn’t cross the placenta"),
        ("Fever with rash is seen in", "Fever without rash is seen in"),
        # opposites
        ("The left suprarenal vein drains into", "The right suprarenal vein drains into"),
        ("Seen most often in measles", "Seen least often in measles"),
        ("Artery of the sinus node is a branch of", "Vein of the sinus node is a branch of"),
        ("Calcium is raised in bone disease", "Calcium is lowered in bone disease"),
        ("Cells that rise in colitis are", "Cells that fall in colitis are"),
        ("Drug of choice for seizures in an infant", "Drug of choice for seizures in an adult"),
        # prefixes
        ("Hyperkalaemia is a sign of", "Hypokalaemia is a sign of"),
        ("Intracellular fluid has more of", "Extracellular fluid has more of"),
        ("Bradycardia is caused by", "Tachycardia is caused by"),
        ("Aerobic flora of the mouth is", "Anaerobic flora of the mouth is"),
        ("Adduction of the thumb is done by", "Abduction of the thumb is done by"),
        ("Systolic murmur at the apex", "Diastolic murmur at the apex"),
        ("The inflammatory cell here is", "The antiinflammatory cell here is"),
    ],
)
@pytest.mark.parametrize("answer", [0, 1, None])
def test_a_stem_turned_round_is_another_question(one: str, other: str, answer: int | None) -> None:
    assert verdict(form(one), form(other, answer=answer)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Shunt from left atrium to right atrium", "Shunt from right atrium to left atrium"),
        ("A ratio of 2 to 5 is", "A ratio of 5 to 2 is"),
        (
            "Increase in calcium with decrease in phosphate",
            "Decrease in calcium with increase in phosphate",
        ),
    ],
)
def test_opposites_in_another_order_are_another_question(one: str, other: str) -> None:
    assert verdict(form(one, answer=0), form(other, answer=1)) is None
    assert verdict(form(one, answer=0), form(other, answer=None)) is None


def test_a_sentence_turned_about_is_the_same_question() -> None:
    a = form("After oesophagectomy the best substitute of the oesophagus is")
    b = form("The best substitute of the oesophagus after oesophagectomy is")
    assert verdict(a, b) == "near"


# Near: 95 %


LONG = (
    "A 22-year-old woman has had two days of fever, loin pain and dysuria. She is vomiting, her "
    "temperature is 39.4 C, and there is tenderness in the right renal angle. Urine shows pus "
    "cells and bacteria. What is the most likely diagnosis?"
)


def test_a_long_stem_may_differ_in_small_words() -> None:
    other = LONG.replace("has had", "presents after").replace("is tenderness", "is pain")
    a, b = form(LONG), form(other)
    assert text_similarity(a, b) >= 0.95
    assert verdict(a, b) == "near"
    assert verdict(a, form(other, answer=1)) is None


@pytest.mark.parametrize(
    ("old", "new"), [("right renal", "left renal"), ("39.4", "39.9"), ("woman", "man")]
)
def test_a_long_stem_may_not_differ_in_a_turning_word(old: str, new: str) -> None:
    a, b = form(LONG), form(LONG.replace(old, new))
    assert text_similarity(a, b) >= 0.95
    assert verdict(a, b) is None


def test_a_long_stem_with_another_question_at_its_end_is_another_question() -> None:
    b = form(LONG.replace("the most likely diagnosis", "the organism"), BUGS)
    assert verdict(form(LONG), b) is None


# Of any two


@given(st.sampled_from(LABELLED), st.sampled_from(LABELLED))
@settings(max_examples=200)
def test_the_verdict_is_symmetric(a: CanonicalQuestion, b: CanonicalQuestion) -> None:
    verdict(a, b)
    assert answers_conflict(a, b) == answers_conflict(b, a)
    assert text_similarity(a, b) == text_similarity(b, a)


def test_the_verdict_on_every_labelled_pair_is_symmetric() -> None:
    for a, b in zip(LABELLED[::2], LABELLED[1::2], strict=True):
        verdict(a, b)
        assert answers_conflict(a, b) == answers_conflict(b, a)


@given(st.sampled_from(LABELLED))
def test_a_question_is_itself(a: CanonicalQuestion) -> None:
    assert duplicate_kind(a, a) == "exact"
    assert not answers_conflict(a, a)
    assert text_similarity(a, a) == 1


@given(st.sampled_from(range(0, len(LABELLED), 2)), st.permutations(range(10)))
def test_no_verdict_depends_on_the_order_of_options(at: int, order: list[int]) -> None:
    lines = Path(__file__).with_name("labelled_pairs.jsonl").read_text().splitlines()
    row = json.loads(lines[at // 2])
    a, b = (Question.model_validate({"id": "q", **row[side]}) for side in "ab")
    places = [n for n in order if n < len(b.options)]
    expected = duplicate_kind(canonicalize_question(a), canonicalize_question(b))
    assert (
        duplicate_kind(
            canonicalize_question(a), canonicalize_question(b.permute_options(tuple(places)))
        )
        == expected
    )


def test_an_answer_of_repeated_letters_is_judged_quickly() -> None:
    start = time.thread_time()
    a = form("True is", ("abcde" * 400 + "x", "p", "q", "r"))
    b = form("True is", ("abcde" * 400 + "x", "s", "t", "u"))
    assert verdict(a, b) == "near"
    assert time.thread_time() - start < 1


@pytest.mark.parametrize(("text", "expected"), [("anti d", "antid"), ("", ""), (" a  b ", "ab")])
def test_spaces_are_squeezed_out(text: str, expected: str) -> None:
    assert remove_spaces(text) == expected
