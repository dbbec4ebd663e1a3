from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medtune.core.records import (
    LETTERS,
    Outcome,
    OutcomeCounts,
    Proportion,
    Question,
    content_hash,
    normalize_option,
)


def question(*options: str, answer: int | None = 0) -> Question:
    return Question(id="q1", stem="Which vitamin?", options=options, answer=answer)


def test_a_record_refuses_a_field_that_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Question.model_validate(
            {"id": "q", "stem": "s", "options": ["a", "b"], "answer": 0, "anwser": 1}
        )


def test_a_record_cannot_be_changed() -> None:
    made = question("a", "b")
    with pytest.raises(ValidationError, match="frozen"):
        made.answer = 1  # type: ignore[misc]
    assert made.answer == 0


@pytest.mark.parametrize("count", [2, 10])
def test_two_to_ten_options_are_accepted(count: int) -> None:
    made = question(*(f"option {i}" for i in range(count)), answer=count - 1)
    assert made.letters == "ABCDEFGHIJ"[:count]
    assert made.answer_text == f"option {count - 1}"


@pytest.mark.parametrize("count", [0, 1, 11])
def test_fewer_than_two_or_more_than_ten_options_are_refused(count: int) -> None:
    with pytest.raises(ValidationError, match="options"):
        question(*(f"option {i}" for i in range(count)))


@pytest.mark.parametrize(
    "options",
    [("Aspirin", "Aspirin"), ("Aspirin", "aspirin"), ("Vitamin  C", " vitamin C ")],
    ids=["same", "case", "white space"],
)
def test_options_equal_up_to_case_and_white_space_are_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="two options are equal"):
        question(*options)


def test_options_that_differ_in_punctuation_are_different() -> None:
    assert question("IgG+", "IgG-").options == ("IgG+", "IgG-")


@pytest.mark.parametrize("blank", ["", "   ", "\n"])
def test_an_empty_option_is_refused(blank: str) -> None:
    with pytest.raises(ValidationError, match="an option is empty"):
        question("Aspirin", blank)


@pytest.mark.parametrize("answer", [-1, 2, 99])
def test_an_answer_outside_the_options_is_refused(answer: int) -> None:
    with pytest.raises(ValidationError, match=f"answer {answer} is outside the 2 options"):
        question("a", "b", answer=answer)


def test_an_unlabelled_question_is_accepted_but_has_no_answer_text() -> None:
    made = question("a", "b", answer=None)
    with pytest.raises(ValueError, match="question q1 has no label"):
        _ = made.answer_text


@pytest.mark.parametrize("field", ["id", "stem"])
def test_an_empty_id_or_stem_is_refused(field: str) -> None:
    fields = {"id": "q", "stem": "s", "options": ("a", "b"), "answer": 0} | {field: ""}
    with pytest.raises(ValidationError, match=field):
        Question.model_validate(fields)


def test_permuted_shows_at_place_i_the_former_option_order_i() -> None:
    made = question("A1", "B2", "C3", answer=2).permute_options((2, 0, 1))
    assert made.options == ("C3", "A1", "B2")
    assert made.answer == 0


def test_permuted_keeps_a_question_without_label_unlabelled() -> None:
    assert question("a", "b", answer=None).permute_options((1, 0)).answer is None


@pytest.mark.parametrize("order", [(0,), (0, 0), (0, 1, 2), (1, 2), (-1, 0)])
def test_permuted_refuses_what_is_no_permutation(order: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is not a permutation of 2 options"):
        question("a", "b").permute_options(order)


@given(st.data())
def test_permuting_never_changes_the_answers_text(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 10))
    options = data.draw(
        st.lists(
            st.text(min_size=1).filter(str.strip),
            min_size=count,
            max_size=count,
            unique_by=normalize_option,
        )
    )
    made = question(*options, answer=data.draw(st.integers(0, count - 1)))
    shown = made.permute_options(tuple(data.draw(st.permutations(range(count)))))
    assert shown.answer_text == made.answer_text
    assert sorted(shown.options) == sorted(made.options)
    assert Question.model_validate(shown.model_dump()) == shown


def test_a_permutation_and_its_inverse_restore_the_question() -> None:
    made = question("a", "b", "c", "d", answer=1)
    assert made.permute_options((3, 1, 0, 2)).permute_options((2, 1, 3, 0)) == made


def test_counts_that_add_up_are_accepted() -> None:
    assert OutcomeCounts(n=10, correct=4, wrong=3, unparsed=2, abstained=1).n == 10


@pytest.mark.parametrize("correct", [3, 5])
def test_counts_that_do_not_add_up_are_refused(correct: int) -> None:
    with pytest.raises(ValidationError, match="do not add up to n"):
        OutcomeCounts(n=10, correct=correct, wrong=3, unparsed=2, abstained=1)


def test_counts_of_nothing_and_negative_counts_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        OutcomeCounts(n=0, correct=0, wrong=0, unparsed=0, abstained=0)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        OutcomeCounts(n=1, correct=2, wrong=-1, unparsed=0, abstained=0)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_a_proportion_lies_between_0_and_1(value: float) -> None:
    with pytest.raises(ValidationError, match="value"):
        Proportion(value=value, low=0.0, high=1.0, n=1)


def test_outcomes_are_written_as_their_words() -> None:
    assert [str(outcome) for outcome in Outcome] == ["correct", "wrong", "unparsed", "abstained"]


def test_content_hash_is_sha256_of_canonical_json() -> None:
    expected = hashlib.sha256('{"a":"é","b":[1,2]}'.encode()).hexdigest()
    assert content_hash({"b": [1, 2], "a": "é"}) == expected


def test_content_hash_depends_on_the_order_of_lists_and_on_types() -> None:
    assert len({content_hash(v) for v in ([1, 2], [2, 1], ["1", "2"], [1.0, 2], [12])}) == 5


def test_normalized_option_folds_case_and_white_space_alone() -> None:
    assert normalize_option("  Vitamin\n B12 ") == "vitamin b12"
    assert normalize_option("STRASSE") == normalize_option("Straße")
    assert normalize_option("B-12") != normalize_option("B12")


def test_there_is_a_letter_for_every_option() -> None:
    assert LETTERS == "ABCDEFGHIJ"
