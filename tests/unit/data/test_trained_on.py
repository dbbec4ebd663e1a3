from __future__ import annotations

from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.data.trained_on import count_trained_on, question_hash, question_hashes

SCURVY = Question(
    id="1", stem="Which vitamin prevents scurvy?", options=("Vitamin A", "Vitamin C"), answer=1
)


def test_case_signs_and_order_of_the_options_make_no_other_question() -> None:
    same = Question(
        id="x",
        stem="  which VITAMIN prevents scurvy",
        options=("vitamin c", "vitamin a."),
        answer=None,
    )
    assert question_hash(same) == question_hash(SCURVY)
    for other in (
        SCURVY.model_copy(update={"stem": "Which vitamin cures scurvy?"}),
        SCURVY.model_copy(update={"options": ("Vitamin A", "Vitamin D")}),
    ):
        assert question_hash(other) != question_hash(SCURVY)


def test_what_was_trained_on_is_counted() -> None:
    train = load_split("starter:train").questions
    hashes = question_hashes(train)
    assert hashes == tuple(sorted(set(hashes)))
    assert len(hashes) == 320
    assert {len(one) for one in hashes} == {16}
    turned = [q.permute_options(tuple(reversed(range(len(q.options))))) for q in train]
    assert count_trained_on(turned, hashes) == 320
    assert count_trained_on([SCURVY, train[3]], hashes) == 1
    assert count_trained_on(train, ()) == 0
