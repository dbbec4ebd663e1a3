from __future__ import annotations

import itertools
import math

import pytest

from medtune.core.protocols import AnswerModel, Decoding, GenerateRequest, Message, ScoreRequest
from medtune.models.fake import FakeModel

OPTIONS = ("Acyclovir", "Ganciclovir", "Amantadine", "Foscarnet")
KEY = {"q1": "Ganciclovir"}
KINDS = ("oracle", "constant", "biased", "noisy")


def request(options: tuple[str, ...] = OPTIONS, identity: str = "q1") -> ScoreRequest:
    messages = (Message("user", "Which drug?"),)
    return ScoreRequest(
        identity,
        "Which drug?",
        options,
        messages,
        "The answer is:",
        tuple(f" {o}" for o in options),
    )


def best(kind: str, options: tuple[str, ...], identity: str = "q1") -> str:
    (scores,) = FakeModel(kind, KEY).score([request(options, identity)])
    return options[max(range(len(options)), key=lambda i: scores[i].logprob)]


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_of_one_request_add_up_to_one(kind: str) -> None:
    model: AnswerModel = FakeModel(kind, KEY)
    for scores in model.score([request(), request(OPTIONS[:2], "other")]):
        assert math.fsum(math.exp(s.logprob) for s in scores) == pytest.approx(1.0)
        assert all(s.logprob < 0 for s in scores)


def test_scores_come_in_request_order_with_the_sizes_of_the_continuations() -> None:
    first, second = FakeModel("noisy", {}).score([request(), request(("é", "ab", "c"), "q2")])
    assert len(first) == 4
    assert [s.bytes for s in second] == [2, 2, 1]  # UTF-8, the space before not counted
    assert {s.tokens for s in first} == {1}


def test_the_oracle_knows_by_content() -> None:
    for order in itertools.permutations(OPTIONS):
        assert best("oracle", order) == "Ganciclovir"


def test_the_oracle_knows_nothing_of_other_questions() -> None:
    (scores,) = FakeModel("oracle", KEY).score([request(identity="q9")])
    assert len({s.logprob for s in scores}) == 1


def test_the_constant_model_gives_the_first() -> None:
    for order in itertools.permutations(OPTIONS):
        assert best("constant", order) == order[0]


def test_the_noisy_model_depends_on_the_text_alone() -> None:
    assert len({best("noisy", order) for order in itertools.permutations(OPTIONS)}) == 1


def test_the_noisy_model_depends_on_the_question() -> None:
    assert {best("noisy", OPTIONS, f"q{n}") for n in range(40)} == set(OPTIONS)


def test_the_biased_model_leans_towards_earlier_letters() -> None:
    given = [OPTIONS.index(best("biased", OPTIONS, f"q{n}")) for n in range(400)]
    counts = [given.count(place) for place in range(4)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[3] + 100


@pytest.mark.parametrize("kind", KINDS)
def test_generation_gives_the_likeliest_option(kind: str) -> None:
    asked = GenerateRequest("q1", "Which drug?", OPTIONS, (Message("user", "Which drug?"),))
    (answer,) = FakeModel(kind, KEY).generate([asked], Decoding())
    assert answer.text == f"The answer is: {best(kind, OPTIONS)}"
    assert answer.stopped
    assert answer.tokens == 4


def test_fakes_are_repeatable_across_instances() -> None:
    assert FakeModel("noisy", {}).score([request()]) == FakeModel("noisy", {}).score([request()])


def test_nothing_to_do() -> None:
    assert FakeModel("noisy", {}).score([]) == []
    assert FakeModel("noisy", {}).generate([], Decoding()) == []


def test_describes_itself_as_a_fake() -> None:
    described = FakeModel("oracle", KEY).describe()
    assert described.source == described.fingerprint == "fake:oracle"
    assert described.parameters == 0
    assert described.adapter is None


def test_renders_every_message_up_to_the_answer() -> None:
    text = FakeModel("oracle", {}).render([Message("system", "S"), Message("user", "U\nV")])
    assert text == "system: S\nuser: U\nV\nassistant: "
