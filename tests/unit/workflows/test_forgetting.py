from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import ContinuationScore, ScoreRequest
from medtune.data.load import load_split
from medtune.data.trained_on import question_hashes
from medtune.models.fake import FakeModel
from medtune.workflows.forgetting import (
    GENERAL_QUESTIONS,
    GeneralExam,
    compare_general_knowledge,
)

QUESTIONS = load_split(GENERAL_QUESTIONS).questions
KEY = {question.id: question.answer_text for question in QUESTIONS}
EXAM = GeneralExam.plan(PromptStyle())


class CountingModel(FakeModel):
    """Counts what it is asked."""

    asked = 0

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.asked += len(requests)
        return super().score(requests)


def test_general_knowledge_is_measured_once_and_compared(tmp_path: Path) -> None:
    base, tuned = CountingModel("oracle", KEY), CountingModel("constant", KEY)
    knows = EXAM.measure(base, "base", tmp_path / "base", NoProgress())
    forgot = EXAM.measure(tuned, "tuned", tmp_path / "tuned", NoProgress())
    assert base.asked == tuned.asked == 2 * 120 + 40
    found = compare_general_knowledge(knows, forgot)
    assert [answers.method for answers in found.answers] == ["cloze", "letter"]
    # The first letter is right for a quarter of the questions.
    assert {answers.difference for answers in found.answers} == {-0.75}
    assert (found.chance, found.text_loss.n, found.trained_on) == (0.25, 40, None)
    assert all(map(found.has_something_to_lose, found.answers))

    again = EXAM.find(base, "base", tmp_path / "base")
    assert again is not None
    assert compare_general_knowledge(again, forgot) == found
    EXAM.measure(base, "base", tmp_path / "base", NoProgress())
    assert base.asked == 2 * 120 + 40, "nothing is asked twice"


def test_what_is_of_other_weights_or_incomplete_is_not_found(tmp_path: Path) -> None:
    model = FakeModel("noisy", KEY)
    EXAM.measure(model, "base", tmp_path / "base", NoProgress())
    assert EXAM.find(FakeModel("biased", KEY), "base", tmp_path / "base") is None
    (tmp_path / "base-text.json").write_text("{}")
    assert EXAM.find(model, "base", tmp_path / "base") is None
    EXAM.measure(model, "base", tmp_path / "base", NoProgress())
    assert EXAM.find(model, "base", tmp_path / "base") is not None


@pytest.mark.parametrize("taught", [0, 7])
def test_general_questions_that_were_trained_on_are_counted(taught: int, tmp_path: Path) -> None:
    hashes = frozenset(question_hashes(list(QUESTIONS)[:taught]))
    exam = GeneralExam.plan(PromptStyle(), hashes)
    known = exam.measure(FakeModel("oracle", KEY), "tuned", tmp_path / "tuned", NoProgress())
    assert compare_general_knowledge(known, known).trained_on == taught
