from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest
from rapidfuzz import fuzz, process

from medtune.core.records import Question
from medtune.data.dedup.find_duplicates import find_overlap
from medtune.data.load import load_split
from medtune.data.plain_texts import read_plain_texts
from medtune.evaluation.text_loss import split_first_sentence

TRAIN, RECALL, TRANSFER = (
    load_split(f"starter:{name}").questions for name in ("train", "recall", "transfer")
)
SPLITS = {"train": TRAIN, "recall": RECALL, "transfer": TRANSFER}
ALL = (*TRAIN, *RECALL, *TRANSFER)
GENERAL = load_split("starter:general").questions
TEXTS = read_plain_texts()
TRAIN_BY_FACT = {question.group: question for question in TRAIN}

each_split = pytest.mark.parametrize("name", SPLITS)
each_recall = pytest.mark.parametrize("question", RECALL, ids=lambda question: question.id)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def negated(question: Question) -> bool:
    return re.search(r"\b(except|not|least|false)\b", question.stem, re.IGNORECASE) is not None


POSITIVE_RECALL = [question for question in RECALL if not negated(question)]


def test_the_splits_have_320_80_and_80_questions_and_no_row_is_left_out() -> None:
    assert {name: len(questions) for name, questions in SPLITS.items()} == {
        "train": 320,
        "recall": 80,
        "transfer": 80,
    }
    assert [load_split(f"starter:{name}").exclusions for name in SPLITS] == [(), (), ()]


def test_ids_are_unique_over_all_splits_and_name_their_split() -> None:
    assert len({question.id for question in ALL}) == 480
    for name, questions in SPLITS.items():
        assert all(question.id.startswith(f"{name}-") for question in questions)


def test_every_question_has_four_options() -> None:
    assert {len(question.options) for question in ALL} == {4}


def test_every_question_has_a_subject_a_topic_a_fact_and_an_explanation() -> None:
    lacking = [
        question.id
        for question in ALL
        if not (question.subject and question.topic and question.group)
        or len(words(question.explanation or "")) < 5
    ]
    assert lacking == []


def test_there_are_20_subjects_with_24_questions_each() -> None:
    subjects = Counter(question.subject for question in ALL)
    assert len(subjects) == 20
    assert set(subjects.values()) == {24}


def test_every_split_draws_on_every_subject_alike() -> None:
    for questions in SPLITS.values():
        counts = Counter(question.subject for question in questions)
        assert set(counts.values()) == {len(questions) // 20}


# Facts


def test_train_asks_for_every_fact_once() -> None:
    assert len(TRAIN_BY_FACT) == 320


def test_every_recalled_fact_is_in_train_and_is_asked_for_once() -> None:
    facts = [question.group for question in RECALL]
    assert len(set(facts)) == 80
    assert set(facts) <= set(TRAIN_BY_FACT)


def test_no_transferred_fact_is_in_train_or_recall() -> None:
    facts = [question.group for question in TRANSFER]
    assert len(set(facts)) == 80
    assert not set(facts) & set(TRAIN_BY_FACT)


@each_recall
def test_recall_asks_for_the_same_text_as_train(question: Question) -> None:
    trained = TRAIN_BY_FACT[question.group]
    assert question.answer_text == trained.answer_text
    assert question.subject == trained.subject


@each_recall
def test_recall_shares_less_than_half_of_its_words_with_train(question: Question) -> None:
    own = set(words(question.stem))
    shared = own & set(words(TRAIN_BY_FACT[question.group].stem))
    assert len(shared) < len(own) / 2


@pytest.mark.parametrize("question", POSITIVE_RECALL, ids=lambda question: question.id)
def test_recall_has_two_distractors_that_train_teaches_as_right(question: Question) -> None:
    # Else a model could tell the right option by having seen it as an answer at all.
    taught = {
        trained.answer_text.casefold()
        for trained in TRAIN
        if trained.subject == question.subject and trained.group != question.group
    }
    distractors = [text.casefold() for text in question.options if text != question.answer_text]
    assert len(taught & set(distractors)) >= 2


# Form


def test_no_two_stems_are_equal_or_nearly_equal() -> None:
    # Short stems ("Wernicke's area lies in the:") may resemble each other; they may not be equal.
    stems = [" ".join(words(question.stem)) for question in ALL]
    alike = process.cdist(stems, stems, scorer=fuzz.ratio, score_cutoff=90)
    near = [
        (ALL[i].id, ALL[j].id)
        for i, j in combinations(range(len(ALL)), 2)
        if alike[i, j] >= 90 and min(len(stems[i].split()), len(stems[j].split())) >= 8
    ]
    assert near == []
    assert len(set(stems)) == 480


def test_no_option_equals_another_when_punctuation_and_case_are_folded() -> None:
    equal = [
        question.id
        for question in ALL
        if len({" ".join(words(option)) for option in question.options}) < 4
    ]
    assert equal == []


@each_split
def test_every_letter_is_right_equally_often(name: str) -> None:
    right = Counter(question.answer for question in SPLITS[name])
    fair = len(SPLITS[name]) / 4
    assert set(right) == {0, 1, 2, 3}
    assert all(abs(count - fair) <= 1 for count in right.values())


def test_one_question_in_six_is_negated() -> None:
    assert sum(map(negated, ALL)) == pytest.approx(480 / 6, abs=5)


@each_split
def test_about_one_question_in_six_is_negated_in_each_split(name: str) -> None:
    # Between one in twelve and one in four.
    assert len(SPLITS[name]) / 12 <= sum(map(negated, SPLITS[name])) <= len(SPLITS[name]) / 4


@each_split
def test_the_longest_option_is_right_in_at_most_40_percent(name: str) -> None:
    longest = sum(
        len(question.answer_text) == max(map(len, question.options)) for question in SPLITS[name]
    )
    assert longest / len(SPLITS[name]) <= 0.4


def test_no_stem_gives_its_right_option_away() -> None:
    told = [
        question.id
        for question in ALL
        if f" {' '.join(words(question.answer_text))} " in f" {' '.join(words(question.stem))} "
    ]
    assert told == []


def test_texts_are_tidy() -> None:
    odd = [
        question.id
        for question in ALL
        for text in (question.stem, *question.options, question.explanation or "")
        if text != " ".join(text.split())
    ]
    assert odd == []


# General questions and plain texts


def test_there_are_30_general_questions_of_each_field_and_no_row_is_left_out() -> None:
    assert load_split("starter:general").exclusions == ()
    fields = Counter(question.subject for question in GENERAL)
    assert fields == dict.fromkeys(("History", "Geography", "Science", "Daily life"), 30)
    assert {len(question.options) for question in GENERAL} == {4}
    assert len({question.id for question in (*ALL, *GENERAL)}) == 600
    assert all(len(words(question.explanation or "")) >= 5 for question in GENERAL)
    assert all(question.topic and question.group for question in GENERAL)


def test_every_letter_is_right_for_30_general_questions() -> None:
    assert Counter(question.answer for question in GENERAL) == dict.fromkeys(range(4), 30)
    for field in {question.subject for question in GENERAL}:
        own = Counter(question.answer for question in GENERAL if question.subject == field)
        assert set(own.values()) == {7, 8}


def test_no_general_question_repeats_another_or_one_of_the_other_splits() -> None:
    assert find_overlap([*GENERAL, *ALL]).links == ()
    stems = [" ".join(words(question.stem)) for question in GENERAL]
    alike = process.cdist(stems, stems, scorer=fuzz.ratio)
    near = [
        (stems[i], stems[j])
        for i, j in combinations(range(len(stems)), 2)
        if alike[i, j] >= 90 and len(stems[i].split()) >= 8
    ]
    assert near == []
    assert len(set(stems)) == 120


def test_the_length_of_an_option_does_not_tell_whether_it_is_right() -> None:
    for extreme in (min, max):
        told = sum(
            len(question.answer_text) == extreme(map(len, question.options)) for question in GENERAL
        )
        # A quarter of four options, and some are of equal length.
        assert told / len(GENERAL) <= 0.4


def test_no_general_stem_gives_its_right_option_away() -> None:
    for question in GENERAL:
        assert (
            f" {' '.join(words(question.answer_text))} "
            not in f" {' '.join(words(question.stem))} "
        )
        for text in (question.stem, *question.options, question.explanation or ""):
            assert text == " ".join(text.split())


def test_the_plain_texts_are_40_paragraphs_on_four_subjects() -> None:
    subjects = Counter(text.subject for text in TEXTS)
    assert subjects == dict.fromkeys(("Daily life", "Nature", "History", "How things work"), 10)
    assert len({text.id for text in TEXTS}) == len({text.text for text in TEXTS}) == 40
    for text in TEXTS:
        assert 60 <= len(text.text.split()) <= 120
        assert text.text == " ".join(text.text.split())
        lead, rest = split_first_sentence(text.text)
        assert len(rest) > len(lead), "more is scored than given"
        assert rest.startswith(" ")


MEDICINE = r"\b(patients?|doctors?|medicines?|diseases?|drugs?|symptoms?|hospitals?|clinic\w*)\b"


def test_nothing_general_is_about_medicine() -> None:
    told = [question.stem for question in GENERAL] + [text.text for text in TEXTS]
    assert [text for text in told if re.search(MEDICINE, text, re.IGNORECASE)] == []
