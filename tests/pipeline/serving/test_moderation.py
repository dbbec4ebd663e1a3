"""The endpoint with a moderation model on a server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.serving.endpoint import QUESTION, Endpoint, endpoint
from tests.unit.models.openai_server import Fault, OpenAiServer, serving

from medtune.core.errors import InputError, RemoteError
from medtune.guardrails.policy import Policy, load_policy
from medtune.workflows.open_guards import MODERATION_KEY_VARIABLE, open_guards

SAFE, HARM, DANGER = (
    {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    for text in ("safe", "unsafe\nS2", "unsafe\nS11")
)


def policy_of(server: OpenAiServer, **settings: Any) -> Policy:
    raw = load_policy().model_dump(exclude_none=True)
    order = [*raw["order"][:-2], "moderation", *raw["order"][-2:]]
    moderation = {"model": "llama-guard", "server": server.name, **settings}
    return Policy.model_validate({**raw, "order": order, "moderation": moderation})


@contextmanager
def moderated(folder: Path, server: OpenAiServer, **settings: Any) -> Iterator[Endpoint]:
    policy = policy_of(server, **settings)
    with endpoint(folder, policy) as made:
        engine = made.services.engine
        opened = open_guards(policy).moderation
        guards = replace(engine.predictor.guards, moderation=opened)
        engine.predictor = replace(engine.predictor, guards=guards)
        yield made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    monkeypatch.setenv("MEDTUNE_API_KEY", "of-the-model")
    monkeypatch.delenv(MODERATION_KEY_VARIABLE, raising=False)
    with serving(OpenAiServer()) as running:
        yield running


def test_what_it_finds_is_held_back_and_told(tmp_path: Path, server: OpenAiServer) -> None:
    server.replies = [SAFE, HARM]
    with moderated(tmp_path, server) as made:
        passed, held = made.ask().json(), made.ask().json()
        assert passed["status"] == "answered"
        assert (held["status"], held["letter"]) == ("pending_review", None)
        verdict = next(v for v in held["reasons"] if v["guard"] == "moderation")
        assert verdict["reason"] == "moderation.harmful"
        assert verdict["engine"] == "llama-guard fake"
        kept = made.store.requests.find(held["request_id"])
        assert kept is not None
        assert [v.engine for v in kept.reasons if v.guard == "moderation"] == ["llama-guard fake"]
    assert QUESTION["stem"] in server.bodies[0]["messages"][0]["content"]
    assert "authorization" not in server.requests[0][2]  # the model's key is not for this server


def test_a_crisis_that_only_it_sees_gets_the_card(tmp_path: Path, server: OpenAiServer) -> None:
    server.replies = [DANGER]
    with moderated(tmp_path, server, action="refuse") as made:
        reply = made.ask().json()
    assert (reply["status"], reply["card"]["name"]) == ("refused", "crisis")


@pytest.mark.parametrize(
    "fault", [Fault(drop=True), Fault(status=500), Fault(status=400), Fault(body=b"hello")]
)
def test_a_server_that_fails_holds_back_and_is_asked_once(
    tmp_path: Path, server: OpenAiServer, fault: Fault
) -> None:
    with moderated(tmp_path, server, unavailable="refuse") as made:
        server.faults = [fault]
        reply = made.ask().json()
        assert reply["status"] == "refused"
        assert reply["reasons"][-1]["reason"] == "moderation.unavailable"
        server.replies = [SAFE]
        assert made.ask().json()["status"] == "answered"
    assert len(server.requests) == 2


def test_it_is_not_waited_for_longer_than_the_policy_says(
    tmp_path: Path, server: OpenAiServer
) -> None:
    with moderated(tmp_path, server, timeout_s=0.2) as made:
        server.faults = [Fault(wait_s=3.0)]
        start = time.perf_counter()
        reply = made.ask().json()
        assert time.perf_counter() - start < 2.5
    assert reply["status"] == "pending_review"
    assert "moderation.unavailable" in [v["reason"] for v in reply["reasons"]]


def test_a_batch_is_not_waited_for_longer_than_four_requests(
    tmp_path: Path, server: OpenAiServer
) -> None:
    with moderated(tmp_path, server, timeout_s=0.3) as made:
        server.faults = [Fault(wait_s=2.0) for _ in range(40)]
        start = time.perf_counter()
        answer = made.client.post("/v1/answer/batch", json={"questions": [QUESTION] * 40})
        assert time.perf_counter() - start < 5
    for reply in answer.json()["replies"]:
        assert "moderation.unavailable" in [v["reason"] for v in reply["reasons"]]


def test_a_fault_of_the_guard_itself_holds_back(tmp_path: Path, server: OpenAiServer) -> None:
    with moderated(tmp_path, server) as made:
        guards = made.services.engine.predictor.guards
        assert guards.moderation is not None
        guards.moderation._server = None  # type: ignore[assignment]
        reply = made.ask().json()
    assert "moderation.unavailable" in [v["reason"] for v in reply["reasons"]]


def test_questions_of_a_batch_are_moderated_at_the_same_time(
    tmp_path: Path, server: OpenAiServer
) -> None:
    with moderated(tmp_path, server) as made:
        server.slow = True
        server.replies = [SAFE] * 12
        answer = made.client.post("/v1/answer/batch", json={"questions": [QUESTION] * 12})
        assert {reply["status"] for reply in answer.json()["replies"]} == {"answered"}
    assert server.most_at_once > 3


def test_a_server_that_is_not_there_is_told_at_the_start(server: OpenAiServer) -> None:
    policy = policy_of(server)
    gone = policy.model_dump(exclude_none=True)
    gone["moderation"]["server"] = "remote:http://127.0.0.1:9/v1#fake"
    with pytest.raises(RemoteError, match="does not answer"):
        open_guards(Policy.model_validate(gone))
    gone["moderation"]["server"] = "remote:https://me:secret@gpu/v1#m"
    with pytest.raises(InputError, match=MODERATION_KEY_VARIABLE) as told:
        open_guards(Policy.model_validate(gone))
    assert "secret" not in str(told.value)
    gone["moderation"]["server"] = "gpu:8000"
    with pytest.raises(InputError, match="no URL of a server"):
        open_guards(Policy.model_validate(gone))
