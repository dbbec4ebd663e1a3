from __future__ import annotations

from collections.abc import Sequence

import pytest

from medtune.core.protocols import ContinuationScore, ScoreRequest
from medtune.data.load import load_split
from medtune.models.fake import FakeModel
from medtune.workflows import benchmark
from medtune.workflows.benchmark import (
    LATENCY_QUESTIONS,
    WARMUP_QUESTIONS,
    BenchmarkTask,
    measure_model,
    time_single_questions,
)


class Remembers(FakeModel):
    """Notes the questions of every call."""

    def __init__(self) -> None:
        super().__init__("constant", {}, {})
        self.calls: list[list[str]] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.calls.append([request.id for request in requests])
        return super().score(requests)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Remembers:
    made = Remembers()
    monkeypatch.setattr(benchmark, "open_model", lambda *_, **__: made)
    return made


def task(n: int) -> BenchmarkTask:
    split = load_split("starter:train", size=n)
    questions = tuple(split.questions)
    return BenchmarkTask("fake:constant", "auto", questions, split.description, "letter")


def test_single_questions_are_timed_when_they_were_not_asked_before(model: Remembers) -> None:
    found = time_single_questions(task(300))
    timed = [name for call in model.calls[-LATENCY_QUESTIONS:] for name in call]
    before = {name for call in model.calls[:-LATENCY_QUESTIONS] for name in call}
    assert len(set(timed)) == len(timed) == len(found.times_s) == LATENCY_QUESTIONS
    assert len(before) == WARMUP_QUESTIONS
    assert not before & set(timed)


@pytest.mark.parametrize(("n", "timed"), [(1, 1), (8, 8), (9, 1), (60, 52)])
def test_few_questions_are_timed_as_far_as_they_go(model: Remembers, n: int, timed: int) -> None:
    row, predictions = measure_model(task(n))
    assert row.latency_n == timed
    assert len(predictions) == row.accuracy.n == n
