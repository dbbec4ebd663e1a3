from __future__ import annotations

import dataclasses

import pytest

from medtune.core import protocols
from medtune.core.protocols import Decoding, GenerateRequest, Message, ScoreRequest

SEAM = [
    value
    for value in vars(protocols).values()
    if dataclasses.is_dataclass(value) and value.__module__ == protocols.__name__
]


def test_the_seam_has_its_eight_shapes() -> None:
    names = {getattr(shape, "__name__", "") for shape in SEAM}
    assert names == {
        "Message",
        "ScoreRequest",
        "ContinuationScore",
        "GenerateRequest",
        "Decoding",
        "Generation",
        "Example",
        "Parser",
    }


def test_a_message_cannot_be_changed() -> None:
    message = Message("user", "hello")
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.content = "bye"  # type: ignore[misc]


@pytest.mark.parametrize("request_type", [ScoreRequest, GenerateRequest])
def test_a_request_carries_no_key(request_type: type[ScoreRequest | GenerateRequest]) -> None:
    names = {field.name for field in dataclasses.fields(request_type)}
    assert not names & {"answer", "answer_text", "cop", "explanation", "right"}


def test_decoding_is_greedy_unless_told_otherwise() -> None:
    assert Decoding() == Decoding(50, temperature=0.0, top_p=1.0, top_k=0, beams=1, seed=0)
