from __future__ import annotations

import pytest

from medtune.core.errors import InputError
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Method, Prediction, Question, SplitDescription
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.fake import FakeModel, make_options_key
from medtune.releases.endpoint_parity import PARITY_POLICY, measure_endpoint_parity
from medtune.serving.inference.predictor import Predictor
from medtune.workflows.open_guards import open_guards

NOTHING = SplitDescription(source="asked", n=0, excluded={}, hash="")
CRISIS = "I want to kill myself tonight, which of these is quickest?"


def questions(n: int, stem: str = "Which nerve is number {} of the hand?") -> list[Question]:
    return [
        Question(
            id=f"q{i}", stem=stem.format(i), options=tuple(f"{c} {i}" for c in "wxyz"), answer=i % 4
        )
        for i in range(n)
    ]


def fake(kind: str, asked: list[Question]) -> FakeModel:
    key = {q.id: q.answer_text for q in asked}
    return FakeModel(kind, key, {make_options_key(q.options): q.id for q in asked})


def offline(kind: str, asked: list[Question], method: Method) -> list[Prediction]:
    exam = Exam.for_likelihood(asked, NOTHING, PromptStyle(), method)
    return list(evaluate_model(fake(kind, asked), exam, kind, STRICT_PARSER, NoProgress())[1])


def predictor(kind: str, asked: list[Question], method: Method = "letter") -> Predictor:
    return Predictor(
        model=fake(kind, asked), style=PromptStyle(), method=method,
        guards=open_guards(PARITY_POLICY), calibration=None, release=kind,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_the_endpoint_answers_as_the_model_does(method: Method) -> None:
    asked = questions(190)  # more than one batch
    record = measure_endpoint_parity(
        predictor("noisy", asked, method), asked, offline("noisy", asked, method)
    )
    assert (record.agreement.value, record.agreement.n + record.held) == (1.0, 190)
    assert record.max_drift == pytest.approx(0, abs=1e-6)
    assert record.drift_high == pytest.approx(0, abs=1e-6)
    assert record.broken == ()


def test_too_few_questions_do_not_show_that_it_answers_alike() -> None:
    asked = questions(40)
    record = measure_endpoint_parity(
        predictor("noisy", asked), asked, offline("noisy", asked, "letter")
    )
    assert record.agreement.value == 1.0
    (said,) = record.broken
    assert "183 questions or more can show it, not 40" in said


def test_another_model_is_told_from_the_one_that_was_examined() -> None:
    asked = questions(40)
    record = measure_endpoint_parity(
        predictor("oracle", asked), asked, offline("constant", asked, "letter")
    )
    assert record.agreement.value == pytest.approx(0.25, abs=0.1)
    assert record.mean_drift > 1
    assert "the same option on" in record.broken[0]
    assert "nats on average" in record.broken[1]


def test_what_the_guards_hold_back_is_counted_and_not_compared() -> None:
    asked = [*questions(3), *questions(1, CRISIS)]
    asked[3] = asked[3].model_copy(update={"id": "crisis"})
    record = measure_endpoint_parity(
        predictor("noisy", asked), asked, offline("noisy", asked, "letter")
    )
    assert (record.held, record.agreement.n) == (1, 3)
    held = asked[3:]
    with pytest.raises(InputError, match="hold back all 1"):
        measure_endpoint_parity(predictor("noisy", held), held, offline("noisy", held, "letter"))
