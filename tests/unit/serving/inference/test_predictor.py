from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.pipeline.serving.endpoint import CALIBRATION, predictor_of

from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import ContinuationScore, ScoreRequest
from medtune.core.records import Question, SplitDescription
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.score import answer_questions
from medtune.models.fake import FakeModel
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import build_index
from medtune.retrieval.schema import Passage, PassageSource


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


class Recorder(FakeModel):
    """Keeps what it is asked."""

    asked: tuple[ScoreRequest, ...] = ()

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.asked = tuple(requests)
        return super().score(requests)


def test_an_open_book_model_reads_passages_and_every_answer_shows_some(tmp_path: Path) -> None:
    fact = Passage(id="f", text="Even b is 7.", source="s")
    source = PassageSource(source="s", licence=None, passages=1)
    index = build_index([fact], [source], tmp_path / "i", "english", NoProgress())
    model = Recorder("constant", {})
    closed = replace(predictor_of(model), index=index)
    (scores,) = closed.predict([QUESTIONS[7]])
    assert scores.evidence is not None
    assert [shown.text for shown in scores.evidence.passages] == [fact.text]
    assert not any(fact.text in str(request) for request in model.asked)
    finder = EvidenceFinder(index, RetrievalConfig(kind="shared", index=str(tmp_path / "i")))
    (scores,) = replace(closed, open_book=finder).predict([QUESTIONS[7]])
    assert any(fact.text in str(request) for request in model.asked)
    assert scores.evidence is not None
