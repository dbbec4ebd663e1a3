from __future__ import annotations

import pytest

import controls
from medtune.core.records import Question


def test_shuffled_labels_are_random_and_each_question_keeps_its_own() -> None:
    questions = [
        Question(id=f"q{i}", stem="?", options=tuple("abcd"), answer=0, explanation="It is a.")
        for i in range(400)
    ]
    found = controls.shuffle_labels(questions, 17)
    counts = [sum(q.answer == letter for q in found) for letter in range(4)]
    assert all(70 <= count <= 130 for count in counts)
    assert {q.explanation for q in found} == {None}
    assert controls.shuffle_labels(questions[::-1], 17) == found[::-1]
    assert controls.shuffle_labels(questions, 18) != found


def test_a_model_that_knows_something_must_not_know_more() -> None:
    def judge(untrained: float, accuracy: float, low: float) -> bool:
        control = {"untrained": untrained, "accuracy": {"value": accuracy}, "difference_low": low}
        return controls.stays_at_chance(control, 0.22, 0.28)

    assert judge(0.25, 0.27, 0.01)
    assert not judge(0.25, 0.29, -0.01)
    assert judge(0.4, 0.39, -0.03)
    assert not judge(0.4, 0.45, 0.02)


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("file:/data/x/train.parquet:train", "file:train.parquet:train"),
        ("data.train=path:/models/q", "data.train=path:q"),
        ("hub:ORG/NAME:validation", "hub:ORG/NAME:validation"),
        ("/tmp/a/controls.json", "controls.json"),
        ("results/controls.json", "results/controls.json"),
    ],
)
def test_arguments_name_no_folder_of_the_machine(argument: str, shown: str) -> None:
    assert controls.portable(argument) == shown
