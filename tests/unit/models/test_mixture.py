from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.errors import AdapterError, ModelError
from medtune.core.option_logprobs import log_probabilities
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle, prompt_fingerprint
from medtune.core.protocols import ContinuationScore, Decoding, GenerateRequest, ScoreRequest
from medtune.core.provenance import collect_provenance
from medtune.core.records import EvaluationRecord, Question, SplitDescription
from medtune.core.run_folder import write_record
from medtune.core.schemas.mixture import MixtureParent, MixtureRecord
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.fake import FakeModel
from medtune.models.mixture import (
    MixtureModel,
    find_own_search,
    pool_log_probabilities,
    read_mixture,
)
from medtune.models.open_model import open_model
from medtune.models.sources import measure_weights_size
from medtune.retrieval.index import build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import PassageSource

QUESTIONS = [
    Question(
        id=f"q{number}",
        stem=f"Which vitamin is number {number}?",
        options=("retinol", "thiamine", "niacin", "biotin"),
        answer=number % 4,
    )
    for number in range(8)
]
DATA = SplitDescription(source="file:calibration.csv", n=8, excluded={}, hash="c" * 64)
STYLE = PromptStyle()
Write = Callable[..., str]


def evaluate(model: Any, **changes: Any) -> EvaluationRecord:
    exam = Exam.for_likelihood(QUESTIONS, DATA, STYLE, "letter")
    record, _ = evaluate_model(model, exam, model.describe().source, STRICT_PARSER, NoProgress())
    return record.model_copy(update=changes)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a mixture of named fakes, and return the name to open it by."""

    def write_mixture(*parents: tuple[str | None, float, EvaluationRecord]) -> str:
        record = MixtureRecord(
            parents=tuple(
                MixtureParent(name=name, label="one", weight=weight, log_loss=1.0, evaluation=one)
                for name, weight, one in parents
            ),
            calibration=DATA,
            n=8,
            log_loss=1.0,
            provenance=collect_provenance(),
        )
        write_record(tmp_path / "mix.json", record)
        return f"mix:{tmp_path}"

    return write_mixture


def fake(kind: str, **changes: Any) -> EvaluationRecord:
    return evaluate(open_model(f"fake:{kind}", questions=QUESTIONS), **changes)


def request(question: Question, options: Sequence[str] | None = None) -> ScoreRequest:
    lead, continuations = STYLE.split_continuations(question, "letter")
    messages = STYLE.build_messages(question, "letter")
    shown = tuple(options or question.options)
    return ScoreRequest(
        question.id, question.stem, shown, messages, lead, continuations[: len(shown)]
    )


def test_pools_by_the_weighted_sum_of_logs() -> None:
    first, second = (0.7, 0.2, 0.1), (0.1, 0.3, 0.6)
    found = pool_log_probabilities([2.0, 0.5], [log_probabilities(p) for p in (first, second)])
    products = [a**2 * b**0.5 for a, b in zip(first, second, strict=True)]
    assert [math.exp(log) for log in found] == pytest.approx(
        [product / sum(products) for product in products]
    )


def test_one_model_cannot_rule_an_option_out() -> None:
    (log,) = log_probabilities([0.0])
    assert log == pytest.approx(math.log(1e-12))


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5), st.floats(0.1, 3))
def test_weight_one_alone_changes_nothing(shares: list[float], other: float) -> None:
    logs = [math.log(share / sum(shares)) for share in shares]
    flat = [math.log(1 / len(shares))] * len(shares)
    assert pool_log_probabilities([1.0, other], [logs, flat]) == pytest.approx(logs)


def test_asks_each_parent_and_follows_the_weights(write: Write) -> None:
    name = write(("fake:oracle", 1.0, fake("oracle")), ("fake:constant", 0.0, fake("constant")))
    model = open_model(name, questions=QUESTIONS)
    assert isinstance(model, MixtureModel)
    scores = model.score([request(question) for question in QUESTIONS])
    for question, each in zip(QUESTIONS, scores, strict=True):
        logs = [score.logprob for score in each]
        assert logs.index(max(logs)) == question.answer
        assert math.fsum(map(math.exp, logs)) == pytest.approx(1.0)
    (answer,) = model.generate(
        [GenerateRequest("q1", QUESTIONS[1].stem, QUESTIONS[1].options, ())], Decoding()
    )
    assert answer.text == "The answer is: thiamine"


def test_the_identity_covers_weights_and_parents(write: Write) -> None:
    parents = fake("noisy"), fake("biased")

    def identity(*weights: float) -> str | None:
        rows = zip(("fake:noisy", "fake:biased"), weights, parents, strict=True)
        return open_model(write(*rows), questions=QUESTIONS).describe().fingerprint

    assert identity(0.5, 0.5) == identity(0.5, 0.5)
    assert identity(0.5, 0.5) != identity(0.5, 0.6)


def test_a_parent_with_other_weights_is_refused(write: Write) -> None:
    before = fake("noisy")
    changed = before.model.model_copy(update={"fingerprint": "0" * 64})
    name = write(
        ("fake:oracle", 1.0, fake("oracle")),
        ("fake:noisy", 1.0, before.model_copy(update={"model": changed})),
    )
    with pytest.raises(ModelError, match="fake:noisy has other weights than when it was mixed"):
        open_model(name, questions=QUESTIONS)


def test_a_parent_asked_by_another_prompt_is_refused(write: Write) -> None:
    terse = prompt_fingerprint(PromptStyle(system="Be brief."), FakeModel("noisy", {}).render)
    name = write(
        ("fake:oracle", 1.0, fake("oracle")), ("fake:noisy", 1.0, fake("noisy", prompt_hash=terse))
    )
    with pytest.raises(ModelError, match="another prompt"):
        open_model(name, questions=QUESTIONS)


@pytest.mark.parametrize(
    ("changes", "said"), [({"orders": "cyclic"}, "orders = cyclic"), ({"shots": 3}, "examples")]
)
def test_a_parent_asked_in_an_unusual_way_is_refused(
    write: Write, changes: dict[str, Any], said: str
) -> None:
    name = write(
        ("fake:oracle", 1.0, fake("oracle")), ("fake:noisy", 1.0, fake("noisy", **changes))
    )
    with pytest.raises(ModelError, match=said):
        open_model(name, questions=QUESTIONS)


def test_a_parent_that_is_missing_is_named(write: Write) -> None:
    name = write(("path:nowhere", 1.0, fake("noisy")), ("fake:oracle", 1.0, fake("oracle")))
    with pytest.raises(ModelError, match="path:nowhere"):
        open_model(name, questions=QUESTIONS)
    name = write((None, 1.0, fake("noisy")), ("fake:oracle", 1.0, fake("oracle")))
    with pytest.raises(ModelError, match="does not say where the adapter of one is"):
        open_model(name, questions=QUESTIONS)


def test_a_folder_without_a_mixture_and_an_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no mixture"):
        read_mixture(f"mix:{tmp_path}")
    (tmp_path / "mix.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no mixture"):
        open_model(f"mix:{tmp_path}")
    with pytest.raises(AdapterError, match="takes no adapter"):
        open_model(f"mix:{tmp_path}", adapter=tmp_path)


def test_options_one_by_one_are_refused(write: Write) -> None:
    name = write(("fake:oracle", 1.0, fake("oracle")), ("fake:noisy", 1.0, fake("noisy")))
    model = open_model(name, questions=QUESTIONS)
    with pytest.raises(ModelError, match="one option at a time"):
        model.score([request(QUESTIONS[0], ["retinol"])])


def test_scores_that_are_not_numbers_name_the_parent(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write(("fake:oracle", 1.0, fake("oracle")), ("fake:noisy", 1.0, fake("noisy")))
    model = open_model(name, questions=QUESTIONS)
    broken = tuple(ContinuationScore(-math.inf, 1, 1) for _ in range(4))
    monkeypatch.setattr(FakeModel, "score", lambda _, asked: [broken for _ in asked])
    with pytest.raises(ModelError, match="fake:oracle gives scores that are not numbers"):
        model.score([request(QUESTIONS[0])])


def test_a_search_among_the_parents_leaves_passages_out(write: Write, tmp_path: Path) -> None:
    passages = passages_from_questions(QUESTIONS, "file:train.csv", None)
    source = PassageSource(source="file:train.csv", licence=None, passages=len(passages))
    build_index(passages, [source], tmp_path / "index", "english", NoProgress())
    search = f"search:{tmp_path / 'index'}"
    name = write(
        ("fake:constant", 0.0, fake("constant")), (search, 1.0, evaluate(open_model(search)))
    )
    model = open_model(name, questions=QUESTIONS)
    assert isinstance(model, MixtureModel)
    assert find_own_search(name) == find_own_search(search) == search
    assert find_own_search("fake:noisy") is None
    asked = [request(QUESTIONS[5])]
    (found,), (blind,) = model.score(asked), model.without(range(8)).score(asked)
    assert found[1].logprob > max(found[i].logprob for i in (0, 2, 3))
    assert len({score.logprob for score in blind}) == 1
    assert model.without(range(8)).describe() == model.describe()
    assert measure_weights_size(name) == measure_weights_size(search)
