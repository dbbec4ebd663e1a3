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
        self.calls.append([request.stem for request in requests])
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
    timed = [stem for call in model.calls[-LATENCY_QUESTIONS:] for stem in call]
    before = {stem for call in model.calls[:-LATENCY_QUESTIONS] for stem in call}
    assert len(set(timed)) == len(timed) == len(found.times_s) == LATENCY_QUESTIONS
    assert len(before) == WARMUP_QUESTIONS
    assert not before & set(timed)


@pytest.mark.parametrize("n", [1, 8, 9, 76])
def test_all_of_few_questions_are_timed(model: Remembers, n: int) -> None:
    row, predictions = measure_model(task(n))
    assert row.latency_n == n
    assert (row.latency_p95_high_s is None) == (n < 72)
    assert len(predictions) == row.accuracy.n == n
