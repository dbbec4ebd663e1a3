from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.retrieval.indexes import index_of, text_passage

from medtune.core.choice import choose_option
from medtune.core.errors import ModelError
from medtune.core.experiment import RetrievalConfig, RetrievalKind
from medtune.core.option_logprobs import option_logprobs
from medtune.core.prompt import FormName, PromptStyle, TextForm
from medtune.core.protocols import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import Method, Normalization, Orders, Outcome, Question, SplitDescription
from medtune.evaluation.exam import Exam, Shots
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.perturbations import perturb_questions
from medtune.evaluation.score import answer_questions, cyclic_orders, score_orders
from medtune.models.fake import FakeModel
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import FolderIndex


class Short(FakeModel):
    """Reads no prompt of more than so many characters."""

    most = 10_000

    def beyond(self, messages: Sequence[Message]) -> tuple[int, int] | None:
        length = sum(len(message.content) for message in messages)
        return (length, self.most) if length > self.most else None


@pytest.mark.parametrize("method", ["letter", "generate"])
def test_a_prompt_that_the_model_cannot_read_is_refused_by_its_question(method: Method) -> None:
    plain = Question(id="short", stem="Which?", options=("a", "b"), answer=0)
    long = plain.model_copy(update={"id": "long", "stem": "x" * 10_000})
    model = Short("oracle", {"short": "a", "long": "a"})
    nothing = SplitDescription(source="file:a.csv", n=2, excluded={}, hash="")
    exam = Exam.for_likelihood([plain, long], nothing, PromptStyle(), method)
    assert len(answer_questions(model, exam, [plain], STRICT_PARSER, {})) == 1
    with pytest.raises(ModelError, match="question long makes a prompt of 10,") as caught:
        answer_questions(model, exam, [plain, long], STRICT_PARSER, {})
    assert "at most 10,000" in caught.value.expected


QUESTIONS = [
    Question(
        id=f"q{n}",
        stem=f"Which is number {n}?",
        options=tuple(f"{word} {n}" for word in ("red", "blue", "green", "white", "black")[:size]),
        answer=n % size,
    )
    for n, size in enumerate((4, 4, 2, 5, 3, 4, 2))
]

ROUND = ("red", "blue", "green", "gray")
"""Four options of nearly one length."""
Logit = Callable[[str, str, int], float]


class Known(FakeModel):
    """Gives each option a logit by (question, text, position); remembers what it was asked."""

    def __init__(self, logit: Logit, mass: float = 1.0) -> None:
        super().__init__("known", {})
        self.logit = logit
        self.mass = mass
        self.asked: list[ScoreRequest] = []
        self.written: list[GenerateRequest] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.asked += requests
        return super().score(requests)

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        self.written += requests
        return super().generate(requests, decoding)

    def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
        found = super()._scores(request)
        return tuple(replace(s, logprob=s.logprob + math.log(self.mass)) for s in found)

    def _logits(self, identity: str, options: Sequence[str]) -> list[float]:
        return [self.logit(identity, text, place) for place, text in enumerate(options)]


def content(identity: str, text: str, _: int = 0) -> float:
    return random.Random(identity + text).gauss(0, 1.5)


PUSH = (1.2, -0.4, 0.3, -2.0, 0.7)


def leaning(identity: str, text: str, place: int) -> float:
    return content(identity, text) + PUSH[place]


def exam(method: Method = "letter", **changes: Any) -> Exam:
    data = SplitDescription(source="starter:recall", n=len(QUESTIONS), excluded={}, hash="h")
    return replace(Exam((), data, PromptStyle(), method, "sum"), **changes)


def softmax(logits: Sequence[float]) -> list[float]:
    weights = [math.exp(logit) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def by_content(question: Question, logit: Logit, order: Sequence[int]) -> dict[str, float]:
    """Say what the model gives to each text when it is shown in this order."""
    texts = [question.options[i] for i in order]
    given = softmax([logit(question.id, text, place) for place, text in enumerate(texts)])
    return dict(zip(texts, given, strict=True))


# Orders


def test_rotations_by_hand() -> None:
    assert cyclic_orders(2) == [(0, 1), (1, 0)]
    assert cyclic_orders(3) == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]


@pytest.mark.parametrize("options", range(2, 11))
def test_every_option_stands_once_at_every_place(options: int) -> None:
    orders = cyclic_orders(options)
    assert orders[0] == tuple(range(options))
    assert len(orders) == options
    for place in range(options):
        assert {order[place] for order in orders} == set(range(options))


@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_probabilities_come_back_to_their_options(method: Method) -> None:
    found = answer_questions(
        Known(leaning), exam(method, orders="cyclic"), QUESTIONS, STRICT_PARSER, {}
    )
    for question, prediction in zip(QUESTIONS, found, strict=True):
        k = len(question.options)
        assert prediction.orders is not None
        assert prediction.probabilities is not None
        assert [answer.order for answer in prediction.orders] == cyclic_orders(k)
        tables = []
        for answer in prediction.orders:
            expected = by_content(question, leaning, answer.order)
            shown = [expected[text] for text in question.options]
            assert answer.probabilities == pytest.approx(shown)
            assert question.options[answer.chosen] == max(expected, key=lambda t: expected[t])
            tables.append(shown)
        mean = [sum(column) / k for column in zip(*tables, strict=True)]
        assert prediction.probabilities == pytest.approx(mean)
        assert prediction.chosen == mean.index(max(mean))
        assert (prediction.outcome == Outcome.CORRECT) == (prediction.chosen == question.answer)
        # What is kept of the raw scores is of the given order.
        assert prediction.logprobs is not None
        given = softmax([leaning(question.id, t, i) for i, t in enumerate(question.options)])
        assert [math.exp(log) for log in prediction.logprobs] == pytest.approx(given)
        assert prediction.options == question.options


def test_one_order_leaves_no_orders() -> None:
    for prediction in answer_questions(Known(leaning), exam(), QUESTIONS, STRICT_PARSER, {}):
        assert prediction.orders is None


def test_a_model_that_knows_contents_alone_gives_the_same_in_every_order() -> None:
    once = answer_questions(Known(content), exam(), QUESTIONS, STRICT_PARSER, {})
    often = answer_questions(Known(content), exam(orders="cyclic"), QUESTIONS, STRICT_PARSER, {})
    for one, all_ in zip(once, often, strict=True):
        assert all_.orders is not None
        assert {answer.chosen for answer in all_.orders} == {one.chosen}
        assert all_.probabilities == pytest.approx(one.probabilities)


def test_a_model_that_knows_positions_alone_is_uniform_and_ties() -> None:
    found = answer_questions(
        Known(lambda _, __, n: PUSH[n]), exam(orders="cyclic"), QUESTIONS, STRICT_PARSER, {}
    )
    for question, prediction in zip(QUESTIONS, found, strict=True):
        k = len(question.options)
        assert prediction.probabilities is not None
        # Equal to the last bit: a rounding must not decide.
        assert len(set(prediction.probabilities)) == 1
        assert prediction.probabilities[0] == pytest.approx(1 / k)
        assert prediction.chosen == choose_option([0] * k, question.stem, question.options)
        assert prediction.orders is not None
        # The favourite place shows another option in every order.
        assert sorted(answer.chosen for answer in prediction.orders) == list(range(k))


def test_so_many_requests_as_options_in_all_orders() -> None:
    model = Known(content)
    answer_questions(model, exam(orders="cyclic"), QUESTIONS, STRICT_PARSER, {})
    assert len(model.asked) == 4 + 4 + 2 + 5 + 3 + 4 + 2
    for request in model.asked:
        listed = request.messages[-1].content
        for letter, text in zip("ABCDE", request.options, strict=False):
            assert f"{letter}. {text}" in listed
    model = Known(content)
    answer_questions(model, exam(), QUESTIONS, STRICT_PARSER, {})
    assert [(r.id, r.options) for r in model.asked] == [(q.id, q.options) for q in QUESTIONS]


def test_the_mass_is_the_mean_over_the_orders() -> None:
    class Shy(Known):
        def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
            # 0.8 where the first option stands first, 0.2 elsewhere
            self.mass = 0.8 if request.options[0].startswith("red") else 0.2
            return super()._scores(request)

    given, cyclic = (
        answer_questions(Shy(content), exam(orders=orders), QUESTIONS, STRICT_PARSER, {})
        for orders in ("given", "cyclic")
    )
    for question, one, all_ in zip(QUESTIONS, given, cyclic, strict=True):
        k = len(question.options)
        assert one.mass == pytest.approx(0.8)
        assert all_.mass == pytest.approx((0.8 + 0.2 * (k - 1)) / k)
    cloze = answer_questions(
        Shy(content), exam("cloze", orders="cyclic"), QUESTIONS, STRICT_PARSER, {}
    )
    assert {p.mass for p in cloze} == {None}


def test_shots_stand_before_the_question_in_every_order() -> None:
    pool = [
        Question(id="s", stem="A worked one?", options=("It is", "It is not"), answer=1),
        *QUESTIONS[:1],
    ]
    model = Known(content)
    answer_questions(
        model, exam(orders="cyclic", shots=Shots(pool, 1)), QUESTIONS[:2], STRICT_PARSER, {}
    )
    assert len(model.asked) == 8
    for request in model.asked:
        texts = [message.content for message in request.messages]
        assert texts[1].startswith("A worked one?\nA. It is\nB. It is not")
        assert texts[2] == "B"
        assert texts[3].startswith("Which is number")


def test_all_orders_are_asked_when_all_are_wanted() -> None:
    model = Known(content)
    found = score_orders(model, PromptStyle(), "letter", QUESTIONS, all_orders=True)
    assert [len(rounds) for rounds in found] == [len(q.options) for q in QUESTIONS]
    for question, rounds in zip(QUESTIONS, found, strict=True):
        assert all(len(scores) == len(question.options) for scores in rounds)


# PriDe


def test_a_prior_is_taken_out_of_the_given_order() -> None:
    prior = {k: tuple(softmax(PUSH[:k])) for k in (2, 3, 4, 5)}
    model = Known(leaning)
    found = answer_questions(model, exam(orders="pride"), QUESTIONS, STRICT_PARSER, prior)
    assert len(model.asked) == len(QUESTIONS)
    for question, prediction in zip(QUESTIONS, found, strict=True):
        alone = softmax([content(question.id, text) for text in question.options])
        assert prediction.probabilities == pytest.approx(alone)
        assert prediction.chosen == alone.index(max(alone))
        assert prediction.orders is None


# Scores


@settings(max_examples=60)
@given(st.lists(st.floats(-2000, 0), min_size=2, max_size=10))
def test_logs_are_the_logs_of_probabilities(values: list[float]) -> None:
    logs = option_logprobs(tuple(ContinuationScore(v, 1, 1) for v in values), "sum")
    assert math.fsum(map(math.exp, logs)) == pytest.approx(1)
    for (a, b), (x, y) in zip(itertools.pairwise(values), itertools.pairwise(logs), strict=True):
        # Not floored: PriDe needs the distances of what is far away too.
        assert a - b == pytest.approx(x - y, abs=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("orders", ["given", "cyclic"])
@pytest.mark.parametrize("place", [0, 2])
def test_scores_that_are_no_numbers_are_the_models_fault(
    value: float, orders: str, place: int
) -> None:
    class Overflown(Known):
        def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
            scores = list(super()._scores(request))
            if request.id == "q1":
                scores[place] = replace(scores[place], logprob=value)
            return tuple(scores)

    with pytest.raises(ModelError) as caught:
        answer_questions(Overflown(content), exam(orders=orders), QUESTIONS, STRICT_PARSER, {})
    assert "fake:known gives scores that are not numbers: question q1" in caught.value.found
    assert f"{value:.4g}" in caught.value.found
    assert "--dtype float32" in caught.value.fix


@pytest.mark.parametrize("cut", [slice(1, None), slice(None, -1)])
def test_a_model_that_answers_too_few_requests_is_not_believed(cut: slice) -> None:
    class Short(Known):
        def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
            return super().score(requests)[cut]

    with pytest.raises(ValueError, match="shorter"):
        answer_questions(Short(content), exam(orders="cyclic"), QUESTIONS, STRICT_PARSER, {})


@pytest.mark.parametrize("orders", ["given", "cyclic"])
@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_equals_are_drawn_by_content_and_not_by_position(method: Method, orders: Orders) -> None:
    many = [
        QUESTIONS[0].model_copy(update={"id": f"t{n}", "stem": f"Which is {n}?", "options": ROUND})
        for n in range(400)
    ]
    found = answer_questions(
        Known(lambda *_: 0.0), exam(method, orders=orders), many, STRICT_PARSER, {}
    )
    positions = Counter(p.chosen for p in found)
    # Four binomials around 100; 5 standard deviations are 43.
    assert all(57 <= positions[place] <= 143 for place in range(4)), positions
    turned = [q.permute_options((2, 3, 0, 1)) for q in many]
    again = answer_questions(
        Known(lambda *_: 0.0), exam(method, orders=orders), turned, STRICT_PARSER, {}
    )
    for one, other in zip(found, again, strict=True):
        assert one.chosen is not None
        assert other.chosen is not None
        assert one.options[one.chosen] == other.options[other.chosen]
        for answer in one.orders or ():
            assert answer.chosen == one.chosen  # so a model without any preference never flips


# Free answers


@pytest.mark.parametrize(
    ("target", "choices"),
    [
        ("letter", ("A", "B", "C", "D")),
        ("text", tuple(f"The answer is: {word} 0" for word in ("red", "blue", "green", "white"))),
    ],
)
def test_a_constrained_model_is_given_its_choices(
    target: FormName, choices: tuple[str, ...]
) -> None:
    model = Known(content)
    found = answer_questions(
        model, exam("generate", constrained=True, target=target), QUESTIONS, STRICT_PARSER, {}
    )
    assert model.written[0].choices == choices
    assert [len(r.choices or ()) for r in model.written] == [len(q.options) for q in QUESTIONS]
    assert model.asked == []
    for question, request, prediction in zip(QUESTIONS, model.written, found, strict=True):
        assert request.choices is not None
        alone = [content(question.id, text) for text in question.options]
        best = alone.index(max(alone))
        # It is read as the option that it is.
        assert prediction.text == request.choices[best]
        assert prediction.chosen == best


def test_a_free_model_is_given_no_choices() -> None:
    model = Known(content)
    answer_questions(model, exam("generate"), QUESTIONS, STRICT_PARSER, {})
    assert {r.choices for r in model.written} == {None}


def test_choices_are_written_as_the_style_says() -> None:
    style = PromptStyle(text=TextForm(answer="{letter}) {text}", list_options=True))
    model = Known(content)
    found = answer_questions(
        model, exam("generate", constrained=True, style=style), QUESTIONS[:1], STRICT_PARSER, {}
    )
    assert model.written[0].choices == ("A) red 0", "B) blue 0", "C) green 0", "D) white 0")
    assert found[0].outcome is not Outcome.UNPARSED


def test_free_answers_come_back_in_order_with_what_was_read() -> None:
    answers: Mapping[str, str] = {"q0": "B", "q1": "blue 1", "q2": "I cannot say.", "q3": ""}

    class Scripted(Known):
        def generate(
            self, requests: Sequence[GenerateRequest], decoding: Decoding
        ) -> list[Generation]:
            assert decoding == Decoding(max_new_tokens=12)
            return [Generation(answers[r.id], 1, r.id != "q3") for r in requests]

    asked = exam("generate", decoding=Decoding(max_new_tokens=12))
    found = answer_questions(Scripted(content), asked, QUESTIONS[:4], STRICT_PARSER, {})
    assert [p.id for p in found] == ["q0", "q1", "q2", "q3"]
    assert [p.chosen for p in found] == [1, 1, None, None]
    assert [p.outcome for p in found] == ["wrong", "correct", "unparsed", "unparsed"]
    assert [p.stopped for p in found] == [True, True, True, False]
    assert all(p.probabilities is None and p.mass is None for p in found)


# Open book


class Reads(Known):
    """Scores an option by its text and by what stands in the prompt beside the question."""

    def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
        shown = request.messages[-1].content.partition("Reference: ")[2].split("\n")[0]
        # Absolute, so that an option that is scored alone is scored as among others.
        return tuple(
            ContinuationScore(content(request.id, text + shown) - 5, 1, len(text))
            for text in request.options
        )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FolderIndex:
    words = ("red", "blue", "green", "white", "black")
    passages = [
        text_passage(f"p{n}{word}", f"Number {n} is {word} {n}") for n in range(7) for word in words
    ]
    return index_of(tmp_path_factory.mktemp("score") / "index", passages)


def evidence(index: FolderIndex, kind: RetrievalKind = "per-option") -> EvidenceFinder:
    return EvidenceFinder(index, RetrievalConfig(kind=kind))


@pytest.mark.parametrize("orders", ["given", "cyclic"])
@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_every_option_is_scored_behind_its_own_passage(
    index: FolderIndex, method: Method, orders: Orders
) -> None:
    model = Reads(content)
    asked = exam(method, orders=orders, evidence=evidence(index))
    found = answer_questions(model, asked, QUESTIONS, STRICT_PARSER, {})
    rounds = {q.id: len(q.options) if orders == "cyclic" else 1 for q in QUESTIONS}
    assert len(model.asked) == sum(len(q.options) * rounds[q.id] for q in QUESTIONS)
    own = {
        q.id: dict(zip(q.options, evidence(index).find(q.stem, q.options), strict=True))
        for q in QUESTIONS
    }
    for request in model.asked:
        (option,), (continuation,) = request.options, request.continuations
        ((passage,), message) = own[request.id][option], request.messages[-1].content
        assert passage.endswith(option)
        assert message.count("Reference: ") == 1
        assert f"\nReference: {passage}" in message
        if method == "letter":
            # Its letter is that of its place in the list that this request shows.
            assert f"{continuation.strip()}. {option}\n" in message
        else:
            assert continuation == f" {option}"
    for question, prediction in zip(QUESTIONS, found, strict=True):
        alone = [content(question.id, o + own[question.id][o][0]) for o in question.options]
        assert prediction.probabilities == pytest.approx(softmax(alone))
        assert prediction.mass is None
        for answer in prediction.orders or ():
            assert answer.probabilities == pytest.approx(softmax(alone))


@pytest.mark.parametrize("kind", ["per-option", "shared"])
@pytest.mark.parametrize("orders", ["given", "cyclic"])
def test_permuted_options_get_the_same_probabilities(
    index: FolderIndex, kind: RetrievalKind, orders: Orders
) -> None:
    asked = exam("cloze", normalization="byte", orders=orders, evidence=evidence(index, kind))
    given = answer_questions(Reads(content), asked, QUESTIONS, STRICT_PARSER, {})
    shifted = [q.permute_options((*range(1, len(q.options)), 0)) for q in QUESTIONS]
    turned = answer_questions(Reads(content), asked, shifted, STRICT_PARSER, {})
    for one, other in zip(given, turned, strict=True):
        assert one.probabilities is not None
        assert other.probabilities is not None
        by_text = dict(zip(other.options, other.probabilities, strict=True))
        assert [by_text[o] for o in one.options] == pytest.approx(one.probabilities)


@pytest.mark.parametrize("normalization", ["sum", "byte"])
@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_an_open_book_without_passages_is_a_closed_one(
    tmp_path: Path, method: Method, normalization: Normalization
) -> None:
    empty = index_of(tmp_path / "index", [text_passage("p", "Unrelated words")])
    closed = exam(method, normalization=normalization)
    open_ = replace(closed, evidence=evidence(empty))
    reader, model = Reads(content), Reads(content)
    found = answer_questions(reader, open_, QUESTIONS, STRICT_PARSER, {})
    expected = answer_questions(model, closed, QUESTIONS, STRICT_PARSER, {})
    prompts = {(r.id, r.messages) for r in reader.asked}
    assert prompts == {(r.id, r.messages) for r in model.asked}
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-12)
        assert one.chosen == other.chosen


def test_pride_removes_a_prior_behind_passages_too(index: FolderIndex) -> None:
    class Leaning(Reads):
        def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
            (score,) = super()._scores(request)
            place = "ABCDE".index(request.continuations[0].strip())
            return (replace(score, logprob=score.logprob + PUSH[place]),)

    prior = {k: tuple(softmax(PUSH[:k])) for k in (2, 3, 4, 5)}
    plain = exam(evidence=evidence(index))
    expected = answer_questions(Reads(content), plain, QUESTIONS, STRICT_PARSER, {})
    pride = replace(plain, orders="pride")
    found = answer_questions(Leaning(content), pride, QUESTIONS, STRICT_PARSER, prior)
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities)


def test_a_hidden_stem_is_not_searched(index: FolderIndex) -> None:
    (blind,) = perturb_questions(QUESTIONS[:1], "options-only", 0)
    searched: list[str] = []

    class Watched(EvidenceFinder):
        def find(self, stem: str, *options: Any, **more: Any) -> tuple[tuple[str, ...], ...]:
            searched.append(stem)
            return super().find(stem, *options, **more)

    model = Reads(content)
    watched = Watched(index, RetrievalConfig(kind="per-option"))
    score_orders(model, PromptStyle(), "text", [blind, QUESTIONS[1]], evidence=watched)
    assert searched == ["", QUESTIONS[1].stem]
    assert {r.stem for r in model.asked} == {"", QUESTIONS[1].stem}
    assert blind.stem in model.asked[0].messages[-1].content


def test_shared_passages_stand_before_a_free_answer(index: FolderIndex) -> None:
    model = Reads(content)
    asked = exam("generate", evidence=evidence(index, "shared"))
    answer_questions(model, asked, QUESTIONS[:2], STRICT_PARSER, {})
    for question, request in zip(QUESTIONS, model.written, strict=False):
        ((passage,), *_) = evidence(index, "shared").find(question.stem, question.options)
        assert f"\nReference: {passage}" in request.messages[-1].content
        assert request.options == question.options


def test_the_longest_passages_decide_whether_a_prompt_fits(index: FolderIndex) -> None:
    model = Short("noisy", {})
    asked = exam(evidence=evidence(index))
    closed = exam().style.build_messages(QUESTIONS[0], "letter")
    model.most = sum(len(message.content) for message in closed)
    assert len(answer_questions(model, exam(), QUESTIONS[:1], STRICT_PARSER, {})) == 1
    with pytest.raises(ModelError, match="question q0 makes a prompt") as caught:
        answer_questions(model, asked, QUESTIONS[:1], STRICT_PARSER, {})
    assert "passages" in caught.value.fix
