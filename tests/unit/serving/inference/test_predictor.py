from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.pipeline.serving.endpoint import CALIBRATION, predictor_of

from medtune.core.prompt import PromptStyle
from medtune.core.records import Question, SplitDescription
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.score import answer_questions
from medtune.models.fake import FakeModel


class Level(FakeModel):
    """Gives two options the same, and the others less."""

    def _logits(self, _: str, options: Sequence[str]) -> list[float]:
        return [1.0 if text.startswith("even") else 0.0 for text in options]


QUESTIONS = [
    Question(
        id=f"q{n}", stem=f"Which is {n}?", options=("odd a", "even b", "odd c", "even d"), answer=0
    )
    for n in range(200)
]


def test_the_endpoint_draws_among_equals_as_an_examination_does() -> None:
    model = Level("level", {})
    data = SplitDescription(source="s", n=len(QUESTIONS), excluded={}, hash="h")
    exam = Exam.for_likelihood(QUESTIONS, data, PromptStyle(), "letter")
    offline = [p.chosen for p in answer_questions(model, exam, QUESTIONS, STRICT_PARSER, {})]
    for calibration in (None, CALIBRATION):
        predictor = predictor_of(model, calibration=calibration)
        assert [scores.chosen for scores in predictor.predict(QUESTIONS)] == offline
    counts = Counter(offline)
    assert set(counts) == {1, 3}
    assert min(counts.values()) >= 65, counts  # 100 of 200, and 5 standard deviations


def test_a_temperature_changes_no_choice() -> None:
    model = FakeModel("noisy", {})
    cold = [t.chosen for t in predictor_of(model, calibration=None).predict(QUESTIONS)]
    hot = predictor_of(model, calibration=CALIBRATION.model_copy(update={"temperature": 1e15}))
    assert [t.chosen for t in hot.predict(QUESTIONS)] == cold
