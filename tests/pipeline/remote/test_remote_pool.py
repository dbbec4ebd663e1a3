"""One model on several servers: shared out, and going on without those that die."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.conftest import CommandLine
from tests.pipeline.remote.test_remote_model import MANY, chat, connect, letters
from tests.unit.models.openai_server import Fault, OpenAiServer, serving

from medtune.core.errors import RemoteError, UnknownModelError
from medtune.core.progress import NoProgress
from medtune.core.protocols import Decoding, GenerateRequest
from medtune.models.open_model import open_model
from medtune.models.remote.remote_pool import RemotePool

ASKED = [letters(stem) for stem in MANY]


class Heard(NoProgress):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def log_message(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture
def servers() -> Iterator[list[OpenAiServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(OpenAiServer())) for _ in range(3)]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def pool(servers: list[OpenAiServer], heard: Heard) -> RemotePool:
    models = [connect(server) for server in servers]
    return RemotePool(f"remote:{','.join(server.url for server in servers)}#fake", models, heard)


def stems(servers: list[OpenAiServer]) -> list[str]:
    return sorted(body["messages"][-1]["content"] for s in servers for body in s.bodies)


def test_questions_are_shared_out_and_answered_as_by_one(
    servers: list[OpenAiServer], heard: Heard
) -> None:
    several = pool(servers, heard)
    assert several.score(ASKED) == connect(servers[0]).score(ASKED)
    assert all(len(server.requests) > len(MANY) / 6 for server in servers)
    free = [GenerateRequest(stem, stem, ("a", "b"), chat(stem)) for stem in MANY[:20]]
    decoding = Decoding(max_new_tokens=20)
    assert several.generate(free, decoding) == connect(servers[0]).generate(free, decoding)
    assert several.render(chat("?")) == connect(servers[0]).render(chat("?"))
    assert heard.messages == []


def test_the_less_busy_server_is_asked(servers: list[OpenAiServer], heard: Heard) -> None:
    several = pool(servers, heard)
    servers[0].faults = [Fault(503, wait_s=1.5) for _ in range(8)]
    assert len(several.score(ASKED)) == len(MANY)
    # While it kept eight waiting, the others answered the rest.
    first, *others = (len(server.requests) for server in servers)
    assert first < min(others)


def test_who_dies_is_left_out_and_nothing_is_answered_twice(
    servers: list[OpenAiServer], heard: Heard
) -> None:
    wanted = connect(servers[1]).score(ASKED)
    servers[1].requests.clear()
    several = pool(servers, heard)
    servers[0].dies_after = 10
    assert several.score(ASKED) == wanted
    (said,) = heard.messages
    assert "left out, 2 servers go on" in said
    assert servers[0].url in said
    answered = stems(servers[1:])
    assert len(answered) == len(set(answered))
    assert len(answered) >= len(MANY) - 10
    before = len(servers[0].requests)
    assert several.score(ASKED[:9]) == wanted[:9]
    assert len(servers[0].requests) == before


def test_a_server_that_fails_for_good_is_left_out(
    servers: list[OpenAiServer], heard: Heard
) -> None:
    wanted = connect(servers[1]).score(ASKED[:40])
    several = pool(servers, heard)
    servers[2].faults = [Fault(500)] * 1000
    assert several.score(ASKED[:40]) == wanted
    assert len(heard.messages) == 1


def test_without_a_server_left_it_ends(servers: list[OpenAiServer], heard: Heard) -> None:
    several = pool(servers, heard)
    for server in servers:
        server.dies_after = 5
    with pytest.raises(RemoteError, match="does not answer"):
        several.score(ASKED)
    assert len(heard.messages) == 2


def test_a_refusal_is_no_death(servers: list[OpenAiServer], heard: Heard) -> None:
    several = pool(servers, heard)
    servers[1].faults = [Fault(400, b'{"error": {"message": "too long"}}')]
    with pytest.raises(RemoteError, match="too long"):
        several.score(ASKED)
    assert heard.messages == []


def test_servers_of_other_models_are_refused(servers: list[OpenAiServer], heard: Heard) -> None:
    servers[2].models = [{"id": "fake", "root": "/models/another"}]
    with pytest.raises(UnknownModelError, match="serves another model") as caught:
        pool(servers, heard)
    assert servers[2].url in str(caught.value)


def test_an_address_that_is_there_twice_is_refused(servers: list[OpenAiServer]) -> None:
    url = servers[0].url
    with pytest.raises(UnknownModelError, match="there twice"):
        open_model(f"remote:{url},{url}/#fake")


def test_a_secret_in_any_address_is_not_repeated(servers: list[OpenAiServer]) -> None:
    with pytest.raises(UnknownModelError, match="MEDTUNE_API_KEY") as caught:
        open_model(f"remote:{servers[0].url},http://me:s3cret@h/v1#fake")
    assert "s3cret" not in str(caught.value)


def test_the_command_takes_several_addresses(
    servers: list[OpenAiServer], medtune: CommandLine
) -> None:
    name = f"remote:{','.join(server.url for server in servers)}#fake"
    found = medtune.record("evaluate", name, "starter:recall", "--out", "several")
    alone = medtune.record("evaluate", servers[0].name, "starter:recall", "--out", "alone")
    assert found["model"]["source"] == name
    assert found["model"]["fingerprint"] == alone["model"]["fingerprint"]
    assert json.dumps(found["accuracy"]) == json.dumps(alone["accuracy"])
    assert all(server.requests for server in servers)
