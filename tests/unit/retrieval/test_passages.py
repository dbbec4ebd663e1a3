from __future__ import annotations

from medtune.core.records import Question
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import Passage


def question(name: str, answer: int | None, explanation: str | None = None) -> Question:
    return Question(
        id=name, stem="Which?", options=("x", "y"), answer=answer, explanation=explanation
    )


def test_a_labelled_question_is_a_passage_and_another_none() -> None:
    found = passages_from_questions(
        [question("a", 1, "Because."), question("b", None), question("c", 0)], "bank", "MIT"
    )
    assert [passage.id for passage in found] == ["a", "c"]
    assert found[0] == Passage(
        id="a",
        text="Because.",
        question="Which?",
        answer="y",
        options=("x", "y"),
        source="bank",
        licence="MIT",
    )
    assert (found[0].short_text, found[0].full_text) == ("Which? y", "Which? y Because.")


def test_a_piece_of_a_text_is_its_own_question() -> None:
    passage = Passage(id="a", text="A text.", source="notes.md")
    assert passage.short_text == passage.full_text == "A text."
