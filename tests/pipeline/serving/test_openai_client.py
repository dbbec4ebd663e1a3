"""OpenAI's own client before the endpoint: its errors, its types, its usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import openai
import pytest
from tests.pipeline.serving.test_pressure import Running, running

from medtune.serving.inference.fixed_texts import DISCLAIMER
from medtune.serving.storage.store import Store

TEXT = "Which vitamin is deficient in scurvy?\nA. Vitamin A\nB. Vitamin C\nC. Vitamin D"
ASKED: list[Any] = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("served")
    with running(folder) as made:
        yield made


@contextmanager
def client(server: Running, per_minute: int = 600) -> Iterator[openai.OpenAI]:
    with closing(Store.open(f"sqlite:///{server.log.parent / 'e.db'}")) as store:
        _, secret = store.keys.add(f"client-{len(store.keys.list_all())}", "ask", per_minute)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=secret, max_retries=0) as made:
        yield made


def test_an_answer_has_what_clients_read(server: Running) -> None:
    with client(server) as asker:
        reply = asker.chat.completions.create(model="m", messages=ASKED)
    assert reply.choices[0].message.content is not None
    assert reply.choices[0].message.content.endswith(DISCLAIMER)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 10
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_ends_with_its_usage_where_it_is_wanted(server: Running) -> None:
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    with client(server) as asker:
        *_, last = asker.chat.completions.create(model="m", messages=ASKED, **options)
    assert last.usage is not None
    assert last.usage.total_tokens > 10


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "text", "text": TEXT},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ]}]},
            "messages.0.content.1.type",
        ),
        ({"messages": []}, "messages"),
    ],
)  # fmt: skip
def test_what_is_refused_raises_with_its_name(
    server: Running, more: dict[str, Any], param: str
) -> None:
    asked: dict[str, Any] = {"model": "m", "messages": ASKED, **more}
    with client(server) as asker, pytest.raises(openai.BadRequestError) as found:
        asker.chat.completions.create(**asked)
    assert found.value.param == param
    assert found.value.type == "invalid_request_error"


def test_other_refusals_raise_what_clients_know(server: Running) -> None:
    wrong = openai.OpenAI(base_url=f"{server.url}/v1", api_key="mt_wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError) as unknown:
        wrong.models.list()
    assert unknown.value.code == "invalid_api_key"
    with client(server, per_minute=1) as poor:
        poor.models.list()
        with pytest.raises(openai.RateLimitError) as often:
            poor.models.list()
    assert often.value.code == "rate_limit_exceeded"
