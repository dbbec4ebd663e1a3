from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from medtune.core.errors import ModelError
from medtune.core.protocols import ContinuationScore, ScoreRequest
from medtune.core.records import PlainText
from medtune.evaluation.text_loss import (
    PROMPT,
    hash_text_inputs,
    measure_text_loss,
    split_first_sentence,
)
from medtune.models.fake import FakeModel


class OneBitModel(FakeModel):
    """Gives each byte of what is scored so many bits."""

    def __init__(self, bits: float = 1.0) -> None:
        super().__init__("noisy", {})
        self.bits = bits
        self.asked: list[ScoreRequest] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.asked += requests
        sizes = [len(request.continuations[0].strip().encode()) for request in requests]
        return [(ContinuationScore(-self.bits * math.log(2) * n, n // 4, n),) for n in sizes]


TEXTS = [
    PlainText(id="a", subject="Nature", text="It rains. The café is full. Nobody leaves."),
    PlainText(id="b", subject="Nature", text="Is it late? The last train has gone."),
]


def test_the_first_sentence_is_given_and_the_rest_is_scored_in_bits_per_byte() -> None:
    model = OneBitModel(0.75)
    found = measure_text_loss(model, TEXTS)
    assert found.losses == pytest.approx((0.75, 0.75))
    assert [request.lead for request in model.asked] == ["It rains.", "Is it late?"]
    assert model.asked[0].continuations == (" The café is full. Nobody leaves.",)
    assert model.asked[0].messages == PROMPT


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match="not numbers"):
        measure_text_loss(OneBitModel(math.inf), TEXTS)


def test_other_texts_and_other_weights_are_other_inputs() -> None:
    one, other = FakeModel("noisy", {}), FakeModel("biased", {})
    assert hash_text_inputs(one, TEXTS) == hash_text_inputs(one, list(TEXTS))
    assert len({hash_text_inputs(m, t) for m in (one, other) for t in (TEXTS, TEXTS[:1])}) == 4


def test_a_single_sentence_leaves_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="single sentence"):
        split_first_sentence("It rains, as ever.")
