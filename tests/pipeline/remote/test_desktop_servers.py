"""Ollama and LM Studio, whose documented answers a local server gives."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.models.openai_server import Fault, OpenAiServer, WordEncoder

from medtune.core.errors import RemoteError
from medtune.core.protocols import Decoding, GenerateRequest, Message, ScoreRequest
from medtune.models.remote import remote_model
from medtune.models.remote.remote_model import RemoteModel

CHAT = (Message("user", "Which?"),)
LETTERS = ScoreRequest("q", "Which?", ("a", "b"), CHAT, "", ("A", "B"))
TEXTS = ScoreRequest("q", "Which?", ("aspirin", "iron"), CHAT, "", (" aspirin", " iron"))
TAGS = {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "digest": "a80c4f17"}]}
OLLAMA_ENTRY = {"id": "llama3.2:latest", "object": "model", "created": 1, "owned_by": "library"}
STUDIO_ENTRY = {"id": "qwen2.5-7b", "object": "model", "owned_by": "organization_owner"}
STUDIO_MODEL = {
    "id": "qwen2.5-7b",
    "type": "llm",
    "publisher": "lmstudio-community",
    "arch": "qwen2",
    "compatibility_type": "gguf",
    "quantization": "Q4_K_M",
    "state": "loaded",
}


def silent_reply() -> dict[str, Any]:
    """Give a chat without log-probabilities, as a server does that ignores the question."""
    message = {"role": "assistant", "content": "A"}
    return {
        "choices": [{"message": message, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }


@pytest.fixture
def ollama(server: OpenAiServer) -> OpenAiServer:
    server.models = [OLLAMA_ENTRY, {**OLLAMA_ENTRY, "id": "mistral:7b"}]
    server.pages = {"/api/version": {"version": "0.13.1"}, "/api/tags": TAGS}
    return server


@pytest.fixture
def studio(server: OpenAiServer) -> OpenAiServer:
    server.models = [STUDIO_ENTRY]
    # Other paths are answered with 200 and an error, too.
    server.pages = {
        "/api/version": {"error": "Unexpected endpoint or method. (GET /api/version)"},
        "/api/v0/models": {"object": "list", "data": [STUDIO_MODEL]},
    }
    return server


def connect(server: OpenAiServer, model: str) -> RemoteModel:
    return RemoteModel.connect(f"remote:{server.url}#{model}")


def test_a_model_of_ollama_is_named_without_its_tag(ollama: OpenAiServer) -> None:
    model = connect(ollama, "llama3.2")
    (scores,) = model.score([LETTERS])
    assert scores[0].logprob < 0
    assert ollama.bodies[0]["model"] == "llama3.2:latest"


def test_the_digest_of_ollama_is_part_of_the_fingerprint(ollama: OpenAiServer) -> None:
    before = connect(ollama, "llama3.2").describe().fingerprint
    assert connect(ollama, "llama3.2:latest").describe().fingerprint == before
    ollama.pages["/api/tags"] = {"models": [{"name": "llama3.2:latest", "digest": "other"}]}
    assert connect(ollama, "llama3.2").describe().fingerprint != before


def test_the_quantization_of_lm_studio_is_part_of_the_fingerprint(studio: OpenAiServer) -> None:
    before = connect(studio, "").describe().fingerprint
    studio.pages["/api/v0/models"] = {"data": [{**STUDIO_MODEL, "quantization": "Q8_0"}]}
    assert connect(studio, "").describe().fingerprint != before


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.12.10", "it does from 0.12.11 on"), ("0.9.0-rc1", "it does from 0.12.11 on")],
)
def test_an_old_ollama_has_no_letters(ollama: OpenAiServer, version: str, said: str) -> None:
    ollama.pages["/api/version"] = {"version": version}
    ollama.replies = [silent_reply()]
    with pytest.raises(RemoteError) as caught:
        connect(ollama, "llama3.2").score([LETTERS])
    assert caught.value.found == f"Ollama {version} gives no log-probabilities: {said}"
    assert "--method generate" in caught.value.fix


def test_a_new_ollama_without_them_is_not_called_old(ollama: OpenAiServer) -> None:
    ollama.replies = [silent_reply()]
    with pytest.raises(RemoteError, match="the answer has none"):
        connect(ollama, "llama3.2").score([LETTERS])


def test_lm_studio_has_no_letters(studio: OpenAiServer) -> None:
    studio.replies = [silent_reply()]
    with pytest.raises(RemoteError, match="LM Studio gives no log-probabilities") as caught:
        connect(studio, "").score([LETTERS])
    assert "--method generate" in caught.value.fix


@pytest.mark.parametrize("which", ["ollama", "studio"])
def test_texts_are_not_scored(which: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(which)
    with pytest.raises(RemoteError, match="cannot score texts") as caught:
        connect(server, server.models[0]["id"]).score([TEXTS])
    assert "--method letter or --method generate" in caught.value.expected
    assert server.requests == []


def test_a_tokenizer_is_refused_before_anything_is_asked(
    ollama: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_model, "load_encoder", lambda *_: WordEncoder.as_encoder())
    with pytest.raises(RemoteError, match="takes no token ids") as caught:
        connect(ollama, "llama3.2@hub:meta-llama/Llama-3.2-1B-Instruct")
    assert caught.value.fix.endswith(f"remote:{ollama.url}#llama3.2")
    assert ollama.requests == []


@pytest.mark.parametrize("which", ["ollama", "studio"])
def test_answers_are_generated(which: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(which)
    model = connect(server, server.models[0]["id"])
    [found] = model.generate([GenerateRequest("q", "Which?", ("a", "b"), CHAT)], Decoding())
    assert found.text.startswith("The answer is")


def test_other_servers_are_not_asked_for_pages_of_their_own(server: OpenAiServer) -> None:
    server.models = [{"id": "m", "root": "m", "max_model_len": 9}]
    server.pages = {"/api/version": {"version": "0.1.0"}}
    server.replies = [silent_reply()]
    with pytest.raises(RemoteError, match="a server that gives no log-probabilities"):
        connect(server, "m").score([LETTERS])


def test_a_server_that_dies_meanwhile_is_an_error(
    ollama: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medtune.models.remote.http.MAX_PAUSE_S", 0.01)
    model = connect(ollama, "llama3.2")
    ollama.faults = [Fault(drop=True)] * 5
    with pytest.raises(RemoteError, match="does not answer"):
        model.describe()
