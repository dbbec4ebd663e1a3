from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from medtune.core.choice import choose_option
from medtune.core.errors import RetrievalError
from medtune.core.intervals import wilson_interval
from medtune.core.progress import NoProgress
from medtune.core.protocols import AnswerModel, Decoding, GenerateRequest, Message, ScoreRequest
from medtune.core.records import Question
from medtune.models.open_model import open_model
from medtune.models.search_model import SearchModel
from medtune.retrieval.index import build_index
from medtune.retrieval.option_features import ALL_FEATURES
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import OptionScorer, PassageSource

DRUGS = ("Adrenaline", "Atropine", "Insulin", "Morphine")
STEM = "What is injected at once in anaphylaxis?"
KNOWN = [
    Question(
        id="shock",
        stem="What is injected first in anaphylaxis?",
        options=DRUGS,
        answer=0,
        explanation="Adrenaline reverses bronchospasm.",
    ),
    Question(
        id="ketoacidosis",
        stem="Which drug is given first in ketoacidosis?",
        options=DRUGS,
        answer=2,
        explanation="Insulin lowers glucose.",
    ),
]
SCORER = OptionScorer(
    features=ALL_FEATURES,
    weights=(*[0.2] * 6, 0.0, *[0.0] * 7),
    negated=True,
    source="questions",
    n=10,
    log_loss=1.0,
    accuracy=wilson_interval(5, 10),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    passages = passages_from_questions(KNOWN, "bank", "CC0-1.0")
    sources = [PassageSource(source="bank", licence="CC0-1.0", passages=2)]
    return build_index(passages, sources, tmp_path / "index", "english", NoProgress()).folder


@pytest.fixture(params=[None, SCORER], ids=["unfitted", "weights"])
def model(request: pytest.FixtureRequest, folder: Path) -> SearchModel:
    found = SearchModel.open(f"search:{folder}")
    return SearchModel("search:it", found.index, request.param)


def score_request(stem: str = STEM, options: tuple[str, ...] = DRUGS) -> ScoreRequest:
    chat = (Message("user", "x"),)
    return ScoreRequest("q", stem, options, chat, "Answer:", tuple(f" {o}" for o in options))


def probabilities(model: SearchModel, stem: str, options: tuple[str, ...]) -> dict[str, float]:
    (scores,) = model.score([score_request(stem, options)])
    return {o: math.exp(s.logprob) for o, s in zip(options, scores, strict=True)}


def test_the_option_that_a_passage_supports_is_likeliest(model: SearchModel) -> None:
    asked: AnswerModel = model
    for scores in asked.score([score_request(), score_request("Which drug in ketoacidosis?")]):
        assert math.fsum(math.exp(s.logprob) for s in scores) == pytest.approx(1.0)
        assert {(s.tokens, s.bytes) for s in scores} == {(1, 1)}
    found = probabilities(model, STEM, DRUGS)
    assert max(found, key=lambda option: found[option]) == "Adrenaline"
    found = probabilities(model, "Which drug in ketoacidosis?", DRUGS)
    assert max(found, key=lambda option: found[option]) == "Insulin"


def test_the_order_of_the_options_changes_nothing(model: SearchModel) -> None:
    first = probabilities(model, STEM, DRUGS)
    for order in itertools.permutations(DRUGS):
        assert probabilities(model, STEM, order) == pytest.approx(first)


def test_options_that_find_nothing_are_equally_likely_and_one_is_chosen_by_its_text(
    folder: Path,
) -> None:
    model = SearchModel.open(f"search:{folder}")
    options = ("Kalzium", "Natrium", "Kalium")
    assert probabilities(model, "Welches Ion?", options) == pytest.approx(
        dict.fromkeys(options, 1 / 3)
    )
    said = {
        model.generate([GenerateRequest("q", "Welches Ion?", order, ())], Decoding())[0].text
        for order in itertools.permutations(options)
    }
    chosen = options[choose_option([1, 1, 1], "Welches Ion?", options)]
    assert said == {f"The answer is: {chosen}"}


def test_without_a_stem_the_options_alone_are_searched(model: SearchModel) -> None:
    found = probabilities(model, "", DRUGS)
    assert math.fsum(found.values()) == pytest.approx(1)
    assert min(found["Adrenaline"], found["Insulin"]) > max(found["Atropine"], found["Morphine"])


def test_letter_and_cloze_choose_the_same_option(model: SearchModel) -> None:
    # The request differs only in what a language model would continue.
    letters = ScoreRequest("q", STEM, DRUGS, (), "Answer:", (" A", " B", " C", " D"))
    assert model.score([letters]) == model.score([score_request()])


def test_an_answer_in_words_and_a_prescribed_one(model: SearchModel) -> None:
    free = GenerateRequest("q", STEM, DRUGS, (Message("user", "x"),))
    letters = GenerateRequest("q", STEM, DRUGS, (), ("A", "B", "C", "D"))
    first, second = model.generate([free, letters], Decoding())
    assert (first.text, first.tokens, first.stopped) == ("The answer is: Adrenaline", 4, True)
    assert second.text == "A"


def test_passages_that_are_left_out_support_nothing(model: SearchModel) -> None:
    alone = model.without({0})
    found = probabilities(alone, STEM, DRUGS)
    assert max(found, key=lambda option: found[option]) == "Insulin"
    assert probabilities(alone.without(()), STEM, DRUGS) == probabilities(model, STEM, DRUGS)


def test_a_negated_stem_has_weights_of_its_own(folder: Path) -> None:
    index = SearchModel.open(f"search:{folder}").index
    turned = SCORER.model_copy(
        update={"weights": (*[0.2] * 6, 0.0, *[-0.9] * 7)}  # what is supported is wrong
    )
    model = SearchModel("search:it", index, turned)
    plain = probabilities(model, "Given first in anaphylaxis?", DRUGS)
    negated = probabilities(model, "All are given first in anaphylaxis EXCEPT?", DRUGS)
    assert max(plain, key=lambda option: plain[option]) == "Adrenaline"
    assert min(negated, key=lambda option: negated[option]) == "Adrenaline"


def test_a_search_is_opened_by_its_name_with_its_scorer(folder: Path) -> None:
    name = f"search:{folder}"
    plain = open_model(name).describe()
    assert (plain.source, plain.parameters, plain.device) == (name, 0, "cpu")
    SearchModel.open(name).index.write_scorer(SCORER)  # type: ignore[attr-defined]
    fitted = open_model(name).describe()
    assert fitted.parameters == 14
    assert fitted.fingerprint != plain.fingerprint
    assert open_model(name).describe() == fitted


@pytest.mark.parametrize("name", ["search:nowhere", "search:", "search:/dev/null"])
def test_a_name_without_an_index_is_told(name: str) -> None:
    with pytest.raises(RetrievalError, match="holds no passage index"):
        open_model(name)
