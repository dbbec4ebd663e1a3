from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest
from tests.unit.models.openai_server import (
    VOCABULARY,
    Fault,
    OpenAiServer,
    WordEncoder,
    free_answer,
    logprob,
    next_tokens,
    pieces,
    template,
)

from medtune.core.errors import (
    AdapterError,
    ModelError,
    RemoteError,
    TemplateError,
    UnknownModelError,
)
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import Decoding, GenerateRequest, Message, ScoreRequest
from medtune.core.records import Question, SplitDescription
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.open_model import open_model
from medtune.models.remote.http import Server
from medtune.models.remote.name import RemoteName
from medtune.models.remote.prompt import UNKNOWN_TEMPLATE
from medtune.models.remote.remote_model import RemoteModel
from medtune.models.sources import resolve_model

MANY = [f"Which drug is number {i}?" for i in range(160)]
STEMS = [f"Which vitamin is number {i}? µ–é" for i in range(12)]
OPTIONS = ("Vitamin A", "Vitamin B₁₂ (cobalamin)", "β-carotene", "None of the above")


def connect(server: OpenAiServer, encoder: WordEncoder | None = None, **how: Any) -> RemoteModel:
    name = RemoteName.parse(server.name)
    server.encoder = encoder
    link = Server(**{"pause_s": 0.01, "timeout_s": 5.0, **how})
    return RemoteModel(name, link, cast(ChatEncoder, encoder))


def chat(stem: str) -> tuple[Message, ...]:
    return (Message("system", "You answer."), Message("user", stem))


def written(stem: str) -> str:
    return template([{"role": m.role, "content": m.content} for m in chat(stem)])


def letters(stem: str, lead: str = "", space: str = "", count: int = 4) -> ScoreRequest:
    continuations = tuple(space + letter for letter in "ABCDEFGHIJ"[:count])
    return ScoreRequest(stem, stem, OPTIONS[:count], chat(stem), lead, continuations)


def texts(stem: str, options: tuple[str, ...] = OPTIONS) -> ScoreRequest:
    return ScoreRequest(
        stem, stem, options, chat(stem), "The answer is:", tuple(f" {text}" for text in options)
    )


def spelt(context: str, letter: str) -> float:
    """Add up a letter's two spellings directly."""
    tokens = next_tokens(context)
    return math.log(math.exp(tokens[letter]) + math.exp(tokens[f" {letter}"]))


def read_directly(context: str, continuation: str) -> tuple[float, int]:
    """Score a text without HTTP."""
    total, tokens = 0.0, pieces(continuation)
    for token in tokens:
        total += logprob(context, token)
        context += token
    return total, len(tokens)


# Letters


@pytest.mark.parametrize("space", ["", " "])
def test_letters_are_the_sum_of_their_spellings(server: OpenAiServer, space: str) -> None:
    found = connect(server).score([letters(stem, space=space) for stem in STEMS])
    for stem, scores in zip(STEMS, found, strict=True):
        direct = [spelt(written(stem), letter) for letter in "ABCD"]
        assert [s.logprob for s in scores] == pytest.approx(direct, abs=1e-12)
        assert {(s.tokens, s.bytes) for s in scores} == {(1, 1)}
    assert {path for path, _, _ in server.requests} == {"/v1/chat/completions"}
    assert server.bodies[0] == {
        "model": "fake",
        "messages": [
            {"role": "system", "content": "You answer."},
            {"role": "user", "content": server.bodies[0]["messages"][1]["content"]},
        ],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }


def test_the_order_is_kept_whoever_answers_first(server: OpenAiServer) -> None:
    server.slow = True
    model = connect(server)
    found = model.score([letters(stem) for stem in STEMS])
    assert [scores[0].logprob for scores in found] == pytest.approx(
        [spelt(written(stem), "A") for stem in STEMS]
    )
    answers = model.generate([GenerateRequest(s, s, OPTIONS, chat(s)) for s in STEMS], Decoding())
    assert [answer.text for answer in answers] == [free_answer(written(stem)) for stem in STEMS]


def test_requests_are_under_way_together(server: OpenAiServer) -> None:
    server.slow = True
    connect(server, parallel=1).score([letters(stem) for stem in STEMS])
    assert server.most_at_once == 1
    open_model(server.name, batch=2).score([letters(stem) for stem in STEMS])
    assert server.most_at_once == 2
    connect(server, parallel=12).score([letters(stem) for stem in STEMS])
    assert 4 < server.most_at_once <= 12


@pytest.mark.parametrize("chat_shape", [False, True])
@pytest.mark.parametrize("ids", [False, True])
def test_letters_after_a_lead_continue_the_prompt(
    server: OpenAiServer, ids: bool, chat_shape: bool
) -> None:
    server.shows_template = not ids
    server.chat_shape = chat_shape
    model = connect(server, WordEncoder() if ids else None)
    found = model.score([letters(stem, "The answer is:", " ") for stem in STEMS])
    for stem, scores in zip(STEMS, found, strict=True):
        context = written(stem) + "The answer is:"
        assert scores[1].logprob == pytest.approx(spelt(context, "B"), abs=1e-12)
    body = server.bodies[-1]
    assert (body["max_tokens"], body["logprobs"]) == (1, 20)
    assert isinstance(body["prompt"], list) is ids


def test_with_a_tokenizer_letters_need_no_template_of_the_server(server: OpenAiServer) -> None:
    [scores] = connect(server, WordEncoder()).score([letters("Which?")])
    assert scores[3].logprob == pytest.approx(spelt(written("Which?"), "D"), abs=1e-12)
    assert [path for path, _, _ in server.requests] == ["/v1/completions"]


def test_letters_that_are_not_listed_have_a_bound_and_are_counted(server: OpenAiServer) -> None:
    server.vocabulary = ("A", " A", "C", "The", "\n")
    model = connect(server)
    [scores] = model.score([letters("Which?")])
    listed = next_tokens(written("Which?"), server.vocabulary)
    bound = min(min(listed.values()) - 1e-6, math.log(0.1 / 2))
    assert scores[1].logprob == scores[3].logprob == pytest.approx(bound)
    assert scores[2].logprob == pytest.approx(listed["C"])
    assert model.floored == 2
    model.score([letters("And which?", count=2)])
    assert model.floored == 3


class Heard(NoProgress):
    lines: tuple[str, ...] = ()

    def log_message(self, text: str) -> None:
        self.lines = (*self.lines, text)


def test_a_bound_is_told_of_once(server: OpenAiServer) -> None:
    heard = Heard()
    model = RemoteModel(RemoteName.parse(server.name), Server(), progress=heard)
    model.score([letters("Which?")])
    assert heard.lines == ()
    server.vocabulary = ("A", "The")
    for _ in range(2):
        model.score([letters("Which?")])
    assert len(heard.lines) == 1
    assert "upper bound" in heard.lines[0]


def test_a_server_that_lists_fewer_tokens_than_asked_is_told_of(server: OpenAiServer) -> None:
    heard = Heard()
    model = RemoteModel(RemoteName.parse(server.name), Server(), progress=heard)
    server.lists_most = 3
    [scores] = model.score([letters("Which?")])
    assert model.floored > 0
    assert "not among the 3 likeliest tokens that the server lists, where 20 were" in heard.lines[0]
    listed = dict(list(next_tokens(written("Which?")).items())[:3])
    assert max(listed.values()) >= scores[0].logprob


def test_where_no_letter_is_listed_all_are_alike_and_have_little_mass(
    server: OpenAiServer,
) -> None:
    server.vocabulary = ("a", "A.", "The", "\n")
    [scores] = connect(server).score([letters("Which?")])
    assert len({s.logprob for s in scores}) == 1
    assert sum(math.exp(s.logprob) for s in scores) <= 0.1 + 1e-9


def test_where_a_server_rounds_to_equals_no_letter_is_preferred(server: OpenAiServer) -> None:
    server.vocabulary = ("a", "A.", "The", "\n")
    questions = [Question(id=stem, stem=stem, options=OPTIONS, answer=0) for stem in MANY]
    data = SplitDescription(source="file:x", n=len(MANY), excluded={}, hash="h")
    exam = Exam.for_likelihood(questions, data, PromptStyle(), "letter")
    record, _ = evaluate_model(connect(server), exam, "remote", STRICT_PARSER, NoProgress())
    assert record.ties == len(MANY)
    # Four binomials around 40; 5 standard deviations are 27.
    assert set(record.letters_chosen) == set("ABCD")
    assert max(record.letters_chosen.values()) <= 67, record.letters_chosen


# Texts


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("ids", [False, True])
def test_texts_are_the_sum_of_their_tokens(server: OpenAiServer, ids: bool, least: int) -> None:
    server.shows_template = not ids
    server.least = least
    model = connect(server, WordEncoder() if ids else None, parallel=1 if least else 8)
    found = model.score([texts(stem) for stem in STEMS])
    for stem, scores in zip(STEMS, found, strict=True):
        for text, score in zip(OPTIONS, scores, strict=True):
            direct, count = read_directly(written(stem) + "The answer is:", f" {text}")
            assert score.logprob == pytest.approx(direct, abs=1e-9)
            assert (score.tokens, score.bytes) == (count, len(text.encode()))
    asked = [body["max_tokens"] for body in server.bodies if "echo" in body]
    # One to see whether there is an echo at all; one that is refused, once.
    assert asked.count(least) == 48 + (ids and least == 1)
    assert len(asked) == 48 + ids + least


def test_options_of_one_character_are_texts_behind_a_lead(server: OpenAiServer) -> None:
    server.shows_template = True
    [scores] = connect(server).score([texts("How many?", ("1", "2", "3", "4"))])
    direct, _ = read_directly(written("How many?") + "The answer is:", " 3")
    assert scores[2].logprob == pytest.approx(direct, abs=1e-9)


def test_without_a_template_texts_need_a_tokenizer(server: OpenAiServer) -> None:
    with pytest.raises(TemplateError, match="does not show its chat template") as caught:
        connect(server).score([texts("Which?")])
    assert f"{server.name}@hub:ORG/NAME" in caught.value.fix


@pytest.mark.parametrize("chat_shape", [False, True])
def test_a_server_that_does_not_echo_is_named(server: OpenAiServer, chat_shape: bool) -> None:
    server.shows_template, server.echoes, server.chat_shape = True, False, chat_shape
    with pytest.raises(RemoteError, match="no log-probabilities of the prompt: 1 for") as caught:
        connect(server).score([texts("Which?")])
    assert "llama-server" in caught.value.expected


def test_another_tokenizer_than_the_servers_is_noticed(server: OpenAiServer) -> None:
    model = connect(server, WordEncoder())
    echo = {"tokens": ["a", "b"], "token_logprobs": [None, -1.0]}
    usage = {"prompt_tokens": 2, "completion_tokens": 0}
    server.replies = [None, {"choices": [{"text": "", "logprobs": echo}], "usage": usage}]
    with pytest.raises(RemoteError, match=r"reads 2 tokens where \d+ were sent"):
        model.score([texts("Which?")])


def test_counting_the_prompt_is_needed(server: OpenAiServer) -> None:
    server.shows_template, server.counts = True, False
    with pytest.raises(RemoteError, match="how many tokens a prompt has"):
        connect(server).score([texts("Which?")])


# Texts, dictated


@pytest.fixture
def llama(server: OpenAiServer) -> OpenAiServer:
    server.echoes, server.dictates, server.slots = False, True, 2
    return server


def test_dictated_texts_are_the_sum_of_their_tokens(llama: OpenAiServer) -> None:
    found = connect(llama, WordEncoder()).score([texts(stem) for stem in STEMS])
    tokens = 0
    for stem, scores in zip(STEMS, found, strict=True):
        for text, score in zip(OPTIONS, scores, strict=True):
            direct, count = read_directly(written(stem) + "The answer is:", f" {text}")
            assert score.logprob == pytest.approx(direct, abs=1e-9)
            assert (score.tokens, score.bytes) == (count, len(text.encode()))
            tokens += count
    assert len(llama.requests) == 1 + 2 + tokens  # an echo, two to try it out
    assert {body["max_tokens"] for body in llama.bodies} == {1}


@pytest.mark.parametrize("slots", [None, 0, 1, 3])
def test_no_more_is_dictated_at_once_than_there_are_slots(
    llama: OpenAiServer, slots: int | None
) -> None:
    llama.slots = slots
    model = connect(llama, WordEncoder())
    model.score([texts(stem, ("A", "B")) for stem in STEMS])
    llama.requests.clear()
    model.score([texts(stem, ("A", "B")) for stem in STEMS])
    asked = [len(body["prompt"]) for body in llama.bodies]
    assert len(asked) == 24
    if slots != 3:  # then one question is done before the next begins
        stems = [body["prompt"][:-3] for body in llama.bodies]
        assert stems[::2] == stems[1::2]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("leaks", "a bias on a token shows in its log-probability"),
        ("disobeys", "does not write the token that a bias dictates"),
    ],
)
def test_a_server_that_dictates_in_another_way_is_refused(
    llama: OpenAiServer, fault: str, message: str
) -> None:
    setattr(llama, fault, True)
    with pytest.raises(RemoteError, match=message):
        connect(llama, WordEncoder()).score([texts("Which?")])


@pytest.mark.parametrize("chat_shape", [False, True])
def test_a_server_that_neither_echoes_nor_dictates_is_refused(
    server: OpenAiServer, chat_shape: bool
) -> None:
    server.echoes, server.chat_shape = False, chat_shape
    message = "no numbers" if chat_shape else "another shape than llama-server's"
    with pytest.raises(RemoteError, match=message):
        connect(server, WordEncoder()).score([texts("Which?")])


def test_a_server_that_refuses_to_echo_is_asked_to_be_dictated_to(llama: OpenAiServer) -> None:
    model = connect(llama, WordEncoder())
    llama.faults = [Fault(400, b'{"error": "Only no echo is supported"}')]
    [scores] = model.score([texts("Which?")])
    direct, _ = read_directly(written("Which?") + "The answer is:", " Vitamin A")
    assert scores[0].logprob == pytest.approx(direct, abs=1e-9)


def test_a_server_that_dies_while_it_is_tried_out_says_so(llama: OpenAiServer) -> None:
    model = connect(llama, WordEncoder())
    llama.dies_after = 1
    with pytest.raises(RemoteError, match="does not answer"):
        model.score([texts("Which?")])


def test_a_server_that_is_down_is_not_one_without_an_echo(llama: OpenAiServer) -> None:
    model = connect(llama, WordEncoder())
    llama.faults = [Fault(drop=True)] * 50
    with pytest.raises(RemoteError, match="does not answer"):
        model.score([texts("Which?")])


# Free answers


@pytest.mark.parametrize("ids", [False, True])
def test_free_answers(server: OpenAiServer, ids: bool) -> None:
    model = connect(server, WordEncoder() if ids else None)
    request = GenerateRequest("q", "Which?", OPTIONS, chat("Which?"))
    how = Decoding(max_new_tokens=9, temperature=0.5, top_p=0.9, seed=3)
    [whole] = model.generate([request], how)
    assert (whole.text, whole.stopped) == (free_answer(written("Which?")), True)
    [cut] = model.generate([request], Decoding(max_new_tokens=2))
    assert (cut.text, cut.stopped, cut.tokens) == ("The answer", False, 2)
    sent = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3}
    assert sent.items() <= server.bodies[0].items()


def test_an_answer_without_words_is_empty(server: OpenAiServer) -> None:
    model = connect(server)
    choice = {"message": {"content": None}, "finish_reason": "length"}
    server.replies = [{"choices": [choice], "usage": {"completion_tokens": 50}}]
    [answer] = model.generate([GenerateRequest("q", "Which?", OPTIONS, chat("Which?"))], Decoding())
    assert (answer.text, answer.tokens, answer.stopped) == ("", 50, False)


def test_an_uncounted_answer_is_refused(server: OpenAiServer) -> None:
    server.counts = False
    with pytest.raises(RemoteError, match="how many tokens an answer has"):
        connect(server).generate(
            [GenerateRequest("q", "Which?", OPTIONS, chat("Which?"))], Decoding()
        )


@pytest.mark.parametrize("how", [Decoding(beams=2), Decoding(temperature=1.0, top_k=5)])
def test_beams_and_top_k_are_refused(server: OpenAiServer, how: Decoding) -> None:
    with pytest.raises(RemoteError, match="beams or top-k"):
        connect(server).generate([GenerateRequest("q", "Which?", OPTIONS, chat("Which?"))], how)
    assert server.requests == []


def choose(stem: str = "Which?") -> GenerateRequest:
    return GenerateRequest("q", stem, OPTIONS, chat(stem), choices=OPTIONS)


def chat_reply(text: str) -> dict[str, Any]:
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 7},
    }


def test_constrained_answers_are_chosen_by_a_schema(server: OpenAiServer) -> None:
    server.replies = [chat_reply(json.dumps({"answer": OPTIONS[1]}))]
    [found] = connect(server).generate([choose()], Decoding(max_new_tokens=4))
    assert (found.text, found.tokens, found.stopped) == (OPTIONS[1], 7, True)
    [body] = server.bodies
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == list(OPTIONS)
    assert body["max_tokens"] > max(len(text.encode()) for text in OPTIONS)


@pytest.mark.parametrize("text", ["Vitamin A", '{"answer": "Vitamin D"}', "{}", "[1]", ""])
def test_a_server_that_does_not_keep_to_a_schema_is_refused(
    server: OpenAiServer, text: str
) -> None:
    server.replies = [chat_reply(text)]
    with pytest.raises(RemoteError, match="does not keep to a schema") as caught:
        connect(server).generate([choose()], Decoding())
    assert "leave --constrained out" in caught.value.fix


def test_constrained_answers_with_a_tokenizer_are_refused_and_nothing_is_asked(
    server: OpenAiServer,
) -> None:
    with pytest.raises(RemoteError, match="constrained") as caught:
        connect(server, WordEncoder()).generate([choose()], Decoding())
    assert "leave the tokenizer out" in caught.value.fix
    assert server.requests == []


# The prompt and the model


def test_the_prompt_is_the_tokenizers_or_the_servers_or_marked_as_unknown(
    server: OpenAiServer,
) -> None:
    assert connect(server, WordEncoder()).render(chat("Which?")) == written("Which?")
    assert connect(server).render(chat("Which?")) == (
        f"{UNKNOWN_TEMPLATE}\nsystem: You answer.\nuser: Which?\nassistant: "
    )
    server.shows_template = True
    assert connect(server).render(chat("Which?")) == written("Which?")


@pytest.mark.parametrize("status", [400, 401, 404, 405, 501])
def test_a_server_without_templates_is_asked_once(server: OpenAiServer, status: int) -> None:
    model = connect(server)
    server.faults = [Fault(status, b"{}")]
    for _ in range(3):
        assert model.render(chat("Which?")).startswith(UNKNOWN_TEMPLATE)
    assert len(server.requests) == 1


def test_a_page_that_is_no_template_is_none(server: OpenAiServer) -> None:
    model = connect(server)
    server.replies = [{"found": "something else"}]
    assert model.render(chat("Which?")).startswith(UNKNOWN_TEMPLATE)


def test_a_template_that_fails_on_this_chat_is_an_error(server: OpenAiServer) -> None:
    server.shows_template = True
    model = connect(server)
    model.render(chat("Which?"))
    server.faults = [Fault(400, b'{"error": {"message": "no system messages"}}')]
    with pytest.raises(RemoteError, match="no system messages"):
        model.render(chat("Which?"))


def test_a_server_that_is_down_is_not_one_without_templates(server: OpenAiServer) -> None:
    model = connect(server)
    server.faults = [Fault(503)] * 5
    with pytest.raises(RemoteError, match="503"):
        model.render(chat("Which?"))


def test_the_description_names_the_server_and_hashes_what_it_says(server: OpenAiServer) -> None:
    first = connect(server).describe()
    assert (first.source, first.device) == (server.name, f"127.0.0.1:{server.port}")
    assert (first.parameters, first.dtype, first.adapter) == (0, "remote", None)
    server.models = [{"id": "fake", "created": 2}]
    assert connect(server).describe() == first
    server.models = [{"id": "fake", "meta": {"size": 1}}]
    assert connect(server).describe().fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("models", "asked", "found"),
    [
        ([{"id": "only"}], "", "only"),
        ([{"id": "a"}, {"id": "b"}], "b", "b"),
        ([{"id": "long", "aliases": ["short"]}, {"id": "b"}], "short", "long"),
    ],
)
def test_which_model_is_asked(
    server: OpenAiServer, models: list[dict[str, Any]], asked: str, found: str
) -> None:
    server.models = models
    model = open_model(f"remote:{server.url}#{asked}")
    model.score([letters("Which?")])
    assert server.bodies[0]["model"] == found


@pytest.mark.parametrize(
    ("models", "asked", "message"),
    [
        (["b", "a"], "c", "serves no 'c'\nexpected: one of a, b"),
        (["b", "a"], "", "serves 2 models, and none is named\nexpected: one of a, b"),
        ([], "", "serves 0 models, and none is named\nexpected: a server that has a model loaded"),
        ([f"m{i:02}" for i in range(23)], "c", "m19 and 3 more"),
    ],
)
def test_a_model_that_is_not_served_is_unknown(
    server: OpenAiServer, models: list[str], asked: str, message: str
) -> None:
    server.models = [{"id": model} for model in models]
    with pytest.raises(UnknownModelError) as caught:
        open_model(f"remote:{server.url}#{asked}")
    assert message in str(caught.value)


@pytest.mark.parametrize("told", ["", "fake", "fake-2026-11-01", "/models/of-somebody.gguf"])
def test_an_answer_may_name_its_model_otherwise(server: OpenAiServer, told: str) -> None:
    server.models = [{"id": "fake"}, {"id": "other"}, {"id": "fake-2026-11-01"}]
    server.answers_as = told
    model = open_model(server.name)
    assert len(model.score([letters("Which?"), letters("And which?")])) == 2


def test_an_answer_by_another_model_is_refused(server: OpenAiServer) -> None:
    server.models = [{"id": "fake"}, {"id": "other", "aliases": ["second"]}]
    server.answers_as = "second"
    with pytest.raises(RemoteError, match="asked for 'fake', 'second' answers"):
        open_model(server.name).score([letters("Which?")])


def test_a_model_that_is_replaced_on_the_way_is_refused(server: OpenAiServer) -> None:
    server.answers_as = "fake-1"
    model = open_model(server.name)
    model.score([letters("Which?")])
    server.answers_as = "fake-2"
    with pytest.raises(
        RemoteError, match="'fake-2' answers\nexpected: answers by one model, 'fake-1"
    ):
        model.score([letters("And which?")])


def test_the_first_choice_is_read_wherever_it_stands(server: OpenAiServer) -> None:
    alone = open_model(server.name).score([letters("Which?")])
    server.adds_choice = True
    assert open_model(server.name).score([letters("Which?")]) == alone
    server.replies = [{"choices": [{"index": 1, "message": {"content": "A"}}]}]
    with pytest.raises(RemoteError, match="one choice, with a text or a message"):
        open_model(server.name).score([letters("Which?")])


@pytest.mark.parametrize("listed", [[1], [{"name": "x"}], "x", None])
def test_a_list_of_something_else_is_refused(server: OpenAiServer, listed: Any) -> None:
    server.models = listed
    with pytest.raises(RemoteError, match="lists no models"):
        open_model(server.name)


def test_no_adapter_goes_on_top(server: OpenAiServer, tmp_path: Any) -> None:
    with pytest.raises(AdapterError, match="takes no adapter"):
        open_model(server.name, adapter=tmp_path)


def test_a_remote_model_cannot_be_loaded_here() -> None:
    with pytest.raises(ModelError, match="can be evaluated, but not loaded"):
        resolve_model("remote:http://localhost:1/v1#x")


def test_a_tokenizer_that_is_none_is_refused(server: OpenAiServer, tmp_path: Any) -> None:
    with pytest.raises(UnknownModelError, match="is no folder"):
        open_model(f"{server.name}@path:{tmp_path / 'none'}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnknownModelError, match=f"tokenizer of path:{tmp_path} cannot be loaded"):
        open_model(f"{server.name}@path:{tmp_path}")


# Answers of the wrong shape


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": ["A"]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": {"0": 1}},
    ],
)
def test_an_answer_of_another_shape_is_refused(server: OpenAiServer, reply: Any) -> None:
    model = connect(server)
    server.replies = [reply]
    with pytest.raises(RemoteError, match="something else than OpenAI's API would"):
        model.score([letters("Which?")])


@pytest.mark.parametrize(
    ("logprobs", "message"),
    [
        (None, "gives no log-probabilities: the answer has none"),
        ({"content": []}, "likeliest tokens are missing"),
        ({"content": None}, "likeliest tokens are missing"),
        ({"content": [{"token": "A", "logprob": -1.0}]}, "likeliest tokens are missing"),
        ({"content": [{"top_logprobs": []}]}, "list of likeliest tokens is empty"),
        ({"content": [{"top_logprobs": [{"token": "A", "logprob": None}]}]}, "gives None as"),
        ({"content": [{"top_logprobs": [{"token": "A", "logprob": 0.5}]}]}, "gives 0.5 as"),
        ({"content": [{"top_logprobs": [{"token": "A", "logprob": "-1"}]}]}, "gives '-1' as"),
        ({"content": [{"top_logprobs": [{"token": "A", "logprob": math.nan}]}]}, "gives nan as"),
        ({"content": [{"top_logprobs": [{"token": "A", "logprob": -math.inf}]}]}, "not finite"),
        (
            {"content": [{"top_logprobs": [{"token": t, "logprob": -0.1} for t in "AB"]}]},
            "a probability of 1.810 together",
        ),
    ],
)
def test_what_is_no_log_probability_is_refused(
    server: OpenAiServer, logprobs: Any, message: str
) -> None:
    model = connect(server)
    choice = {"message": {"content": "A"}, "logprobs": logprobs}
    server.replies = [{"choices": [choice]}]
    with pytest.raises(RemoteError, match=message):
        model.score([letters("Which?")])


@pytest.mark.parametrize("value", [None, 0.5, math.nan])
def test_what_is_no_log_probability_in_an_echo_is_refused(server: OpenAiServer, value: Any) -> None:
    server.shows_template = True
    model = connect(server)
    model.render(chat("Which?"))
    tokens = pieces(written("Which?") + "The answer is: Vitamin A")
    values = [None, *[-1.0] * (len(tokens) - 2), value]
    choice = {"text": "", "logprobs": {"tokens": tokens, "token_logprobs": values}}
    echo = {"choices": [choice], "usage": {"prompt_tokens": len(tokens)}}
    server.replies = [{"prompt": written("Which?")}, echo]
    with pytest.raises(RemoteError, match=f"gives {value} as a log-probability"):
        model.score([texts("Which?")])


@pytest.mark.parametrize(
    ("logprobs", "message"),
    [
        (None, "there are none at all"),
        ({}, "there are none at all"),
        ({"tokens": ["a"]}, "they have no known shape"),
        ({"tokens": 1, "token_logprobs": 2}, "they have no known shape"),
        ({"tokens": ["a", "b"], "token_logprobs": [None]}, "they have no known shape"),
        ({"content": [{"token": "a"}]}, "they have no known shape"),
    ],
)
def test_an_echo_of_no_known_shape_is_refused(
    server: OpenAiServer, logprobs: Any, message: str
) -> None:
    model = connect(server, WordEncoder())
    server.replies = [None, {"choices": [{"text": "", "logprobs": logprobs}]}]
    with pytest.raises(RemoteError, match=message):
        model.score([texts("Which?")])


def test_the_fake_language_fits_into_what_is_asked_for() -> None:
    assert len(VOCABULARY) <= 20, "else parity of letters would be up to bounds"
