"""Training and evaluation show one prompt for the same question and passages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress
from medtune.core.prompt import form_for_target, method_for_form
from medtune.core.protocols import ContinuationScore, Example, Message, ScoreRequest
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.evaluation.score import score_options
from medtune.models.fake import FakeModel
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.training.examples import ExampleEncoder
from medtune.workflows.training_evidence import LeaveOneOutSearch, find_training_passages

DATA = load_split("starter:train", size=40)
ASKED, INDEXED = DATA.questions[:20], DATA.questions[20:]
"""Questions whose passages the index does not have, and those that it was made of."""


class Recorder(FakeModel):
    """A model that keeps the prompts and answers that it is asked to score."""

    def __init__(self) -> None:
        super().__init__("noisy", {})
        self.asked: list[ScoreRequest] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.asked += requests
        return super().score(requests)

    def encode(self, messages: Sequence[Message], answer: str) -> Example:
        prompt = self.render(messages)
        return Example(tuple(map(ord, prompt + answer)), len(prompt))


def experiment(kind: str, target: str, **more: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "retrieval": {"kind": kind, "passages": 2, "words": 12},
            "training": {"target": target, **more},
            "evaluation": {"methods": ["letter", "cloze"]},
        }
    )


@pytest.mark.parametrize("kind", ["per-option", "shared"])
@pytest.mark.parametrize("target", ["text", "letter", "letter+text", "text+explanation"])
def test_a_training_prompt_is_the_evaluation_prompt(tmp_path: Path, kind: str, target: str) -> None:
    config = experiment(kind, target)
    passages = passages_from_questions(INDEXED, "starter:train", None)
    index = build_index(passages, [], tmp_path / "index", "english", NoProgress())
    evidence = EvidenceFinder(index, config.retrieval)
    found = find_training_passages(evidence, ASKED, DATA.description, tmp_path, NoProgress())
    model: Any = Recorder()
    encode = ExampleEncoder(model, config, ASKED, found)
    form = form_for_target(config.training.target)
    score_options(model, config.prompt, method_for_form(form), ASKED, evidence)
    by_question: dict[str, list[ScoreRequest]] = {}
    for request in model.asked:
        by_question.setdefault(request.id, []).append(request)
    shown = 0
    for question in ASKED:
        assert question.answer is not None
        requests = by_question[question.id]
        per_option = kind == "per-option"
        assert len(requests) == (len(question.options) if per_option else 1)
        right = requests[question.answer] if per_option else requests[0]
        continuation = right.continuations[0 if per_option else question.answer]
        text = "".join(map(chr, encode(question).tokens))
        assert text.startswith(model.render(right.messages) + right.lead + continuation)
        # Every option's prompt, for a loss that compares them.
        prompts = encode.build_option_prompts(question)
        asked = [requests[place if per_option else 0].messages for place in range(len(prompts))]
        assert list(prompts) == asked
        shown += "Reference: " in text
    assert shown == len(ASKED)


def test_leave_one_out_finds_what_a_plain_search_finds_where_nothing_leaks(tmp_path: Path) -> None:
    passages = passages_from_questions(DATA.questions, "starter:train", None)
    index = build_index(passages, [], tmp_path / "index", "english", NoProgress())
    evidence = EvidenceFinder(index, experiment("per-option", "text").retrieval)
    rows = {passage.id: row for row, passage in enumerate(passages)}
    search = LeaveOneOutSearch(evidence)
    differing = [
        question.id
        for question in DATA.questions
        if search.find(question)
        != evidence.find(question.stem, question.options, [rows[question.id]])
    ]
    assert not differing
    assert search.left_out == 0


def test_the_question_itself_is_no_passage(tmp_path: Path) -> None:
    passages = passages_from_questions(DATA.questions, "starter:train", None)
    index = build_index(passages, [], tmp_path / "index", "english", NoProgress())
    evidence = EvidenceFinder(index, experiment("per-option", "text").retrieval)
    found = find_training_passages(
        evidence, DATA.questions, DATA.description, tmp_path, NoProgress()
    )

    def begins_as(question: Question, read: Sequence[str]) -> bool:
        opening = " ".join(question.stem.split()[:8])
        return any(text.startswith(opening) for text in read)

    plain = [begins_as(q, evidence.find(q.stem, q.options)[q.answer or 0]) for q in DATA.questions]
    assert all(plain)
    assert not any(begins_as(q, read) for q in DATA.questions for read in found.find(q))
