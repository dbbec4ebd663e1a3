from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from medtune.core.errors import ModelError
from medtune.core.protocols import ContinuationScore, Decoding, Message, ScoreRequest
from medtune.core.records import ModelDescription
from medtune.models.fake import FakeModel
from medtune.models.own_model import as_answer_model

REQUEST = ScoreRequest(
    "q", "Which?", ("Yes", "No"), (Message("user", "Which?"),), "", (" Yes", " No")
)


class Mine:
    def __init__(self, scores: Any = (-1, -2), name: Any = "mine") -> None:
        self.scores, self.name = scores, name

    def describe(self) -> Any:
        return self.name

    def score(self, requests: Sequence[ScoreRequest]) -> Any:
        return [self.scores for _ in requests]


def test_numbers_become_scores_and_a_name_a_description() -> None:
    model = as_answer_model(Mine())
    assert model.score([REQUEST]) == [(ContinuationScore(-1, 1, 3), ContinuationScore(-2, 1, 2))]
    assert (model.describe().source, model.describe().parameters) == ("mine", 0)
    assert "Which?" in model.render(REQUEST.messages)


def test_a_complete_model_and_a_complete_description_are_taken_as_they_are() -> None:
    fake = FakeModel("noisy", {})
    assert as_answer_model(fake) is fake
    own = ModelDescription(source="m", fingerprint="v2", parameters=7, dtype="f", device="cpu")
    assert as_answer_model(Mine(name=own)).describe() == own


@pytest.mark.parametrize("scores", [(-1,), (-1, "high"), 3, None, (-1, None)])
def test_wrong_scores_are_named(scores: Any) -> None:
    with pytest.raises(ModelError, match=r"score\(\) of Mine returned .*question q"):
        as_answer_model(Mine(scores)).score([REQUEST])


def test_too_few_results_are_named() -> None:
    model = Mine()
    model.score = lambda requests: []  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="0 results for 1 requests"):
        as_answer_model(model).score([REQUEST])


def test_a_class_in_place_of_an_object_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Mine is a class[\s\S]*make one: Mine\(\)"):
        as_answer_model(Mine)


def test_an_object_without_the_methods_is_refused() -> None:
    with pytest.raises(ModelError, match="object has no method score and no method describe"):
        as_answer_model(object())


@pytest.mark.parametrize("name", [None, "", 3, "search:here"])
def test_a_description_that_is_no_name_or_one_of_medtunes_is_refused(name: Any) -> None:
    with pytest.raises(ModelError, match="describe"):
        as_answer_model(Mine(name=name))


def test_free_answers_need_generate() -> None:
    with pytest.raises(ModelError, match="mine writes no free answers"):
        as_answer_model(Mine()).generate([], Decoding())
