from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.errors import AdapterError, UnknownModelError
from medtune.core.protocols import Message, ScoreRequest
from medtune.core.records import Question
from medtune.models.fake import FakeModel
from medtune.models.open_model import open_model

QUESTION = Question(id="q1", stem="Which?", options=("Yes", "No"), answer=1)


@pytest.mark.parametrize("kind", ["oracle", "constant", "biased", "noisy"])
def test_opens_every_fake(kind: str) -> None:
    model = open_model(f"fake:{kind}", questions=[QUESTION])
    assert isinstance(model, FakeModel)
    assert model.kind == kind


def test_a_fake_takes_its_key_from_the_exam() -> None:
    blind = QUESTION.model_copy(update={"id": "q2", "answer": None})
    model = open_model("fake:oracle", questions=[QUESTION, blind])
    messages = (Message("user", "Which?"),)
    known, unknown = model.score(
        [ScoreRequest(i, "", ("Yes", "No"), messages, "", (" A", " B")) for i in ("q1", "q2")]
    )
    assert known[1].logprob > known[0].logprob
    assert unknown[0].logprob == unknown[1].logprob


def test_a_fake_takes_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="fake:oracle takes no adapter"):
        open_model("fake:oracle", adapter=tmp_path)


@pytest.mark.parametrize("name", ["fake:", "fake:nobody", "gpt", "", "embedded:gpt", "Fake:oracle"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownModelError, match="names no model"):
        open_model(name)
