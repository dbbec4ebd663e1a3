from __future__ import annotations

import pytest

from medtune.core.records import Question
from medtune.data.overlap import overlap_key, without_overlap

SCURVY = Question(
    id="e1",
    stem="Which vitamin prevents scurvy?",
    options=("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D"),
    answer=2,
)


def variant(**changes: object) -> Question:
    return SCURVY.model_copy(update={"id": "t1", **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stem": "WHICH VITAMIN prevents scurvy?"},
        {"stem": "Which vitamin prevents scurvy"},
        {"stem": " Which  vitamin, prevents: scurvy?!"},
        {"options": ("vitamin a", "Vitamin-B12", "Vitamin C.", "VITAMIN D")},
        {"options": ("Vitamin D", "Vitamin C", "Vitamin B12", "Vitamin A"), "answer": 1},
        {"answer": 0},
        {"subject": "Biochemistry", "explanation": "Because."},
    ],
    ids=["same", "case", "mark", "marks", "options", "order", "answer", "remarks"],
)
def test_the_same_question_is_found_and_removed_from_train(changes: dict[str, object]) -> None:
    assert without_overlap([variant(**changes)], [SCURVY]) == ((), ("t1",))


@pytest.mark.parametrize(
    "changes",
    [
        {"stem": "Which vitamin prevents rickets?"},
        {"options": ("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin K")},
        {"options": ("Vitamin A", "Vitamin B12", "Vitamin C")},
        {"options": ("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D", "Vitamin E")},
        {"stem": "Whichvitamin prevents scurvy?"},
    ],
    ids=["stem", "one option", "fewer", "more", "joined words"],
)
def test_another_question_stays(changes: dict[str, object]) -> None:
    train = variant(**changes)
    assert without_overlap([train], [SCURVY]) == ((train,), ())


def test_the_order_of_train_is_kept_and_every_copy_is_removed() -> None:
    other = [variant(id=f"o{n}", stem=f"Question {n}?") for n in range(3)]
    train = [variant(id="c1"), other[2], other[0], variant(id="c2"), other[1]]
    kept, removed = without_overlap(train, [SCURVY, other[0]])
    assert kept == (other[2], other[1])
    assert removed == ("c1", "o0", "c2")


def test_nothing_evaluated_removes_nothing() -> None:
    assert without_overlap([SCURVY], []) == ((SCURVY,), ())


def test_letters_beyond_ascii_count() -> None:
    greek = variant(stem="Which of α and β?")
    assert overlap_key(greek) != overlap_key(variant(stem="Which of γ and β?"))
    assert overlap_key(greek) == overlap_key(variant(stem="which of Α and Β"))
