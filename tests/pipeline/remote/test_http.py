from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.unit.models.openai_server import Fault, OpenAiServer, serving

from medtune.core.errors import RemoteError
from medtune.models.remote.http import MAX_PAUSE_S, RETRIES, Server

BODY = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 9}


def ask(server: OpenAiServer, pause_s: float = 0.001, timeout_s: float = 5.0) -> object:
    link = Server(pause_s=pause_s, timeout_s=timeout_s)
    return link.post(f"{server.url}/chat/completions", BODY)["choices"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(drop=True),
        Fault(429),
        Fault(500, b"oops"),
        Fault(503, b'{"error": "loading"}'),
        Fault(429, headers={"retry-after": "tomorrow"}),
        Fault(429, headers={"retry-after": "-3"}),
        Fault(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}),
    ],
)
def test_what_may_pass_is_tried_again(server: OpenAiServer, fault: Fault) -> None:
    server.faults = [fault, fault]
    assert ask(server)
    assert len(server.requests) == 3


def test_four_retries_and_no_more(server: OpenAiServer) -> None:
    server.faults = [Fault(503, b'{"error": {"message": "loading  the\\nmodel"}}')] * 9
    with pytest.raises(RemoteError, match="status 503: loading the model") as caught:
        ask(server)
    assert len(server.requests) == 1 + RETRIES == 5
    assert "goes on where it stopped" in caught.value.fix
    assert caught.value.status == 503


def test_a_slow_answer_is_given_up(server: OpenAiServer) -> None:
    server.faults = [Fault(wait_s=0.3, body=b"{}")] * 5
    with pytest.raises(RemoteError, match=r"does not answer: .*tried 5 times") as caught:
        ask(server, timeout_s=0.02)
    assert caught.value.status is None
    assert type(caught.value.__cause__).__name__ == "ReadTimeout"


def test_nobody_there() -> None:
    with serving(OpenAiServer()) as server:
        pass
    with pytest.raises(RemoteError, match=r"does not answer: .*refused") as caught:
        ask(server)
    assert "check the address" in caught.value.fix


@pytest.mark.parametrize("seconds", ["0.2", "date"])
def test_a_retry_after_is_honoured(server: OpenAiServer, seconds: str) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    header = format_datetime(soon, usegmt=True) if seconds == "date" else seconds
    server.faults = [Fault(429, headers={"retry-after": header})]
    start = time.perf_counter()
    assert ask(server)
    assert 0.19 < time.perf_counter() - start < 10


def test_a_retry_after_of_hours_is_cut(server: OpenAiServer) -> None:
    link = Server()
    assert link._pause(0, 7200.0) == MAX_PAUSE_S
    assert link._pause(20, 0.0) == MAX_PAUSE_S


def test_pauses_double_and_are_spread() -> None:
    link = Server(pause_s=1.0)
    for attempt in range(RETRIES):
        pauses = {link._pause(attempt, 0.0) for _ in range(50)}
        assert len(pauses) > 40
        assert 2**attempt / 2 <= min(pauses) <= max(pauses) <= 2**attempt


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b'{"error": {"message": "too long", "code": 1}}', "status 400: too long"),
        (400, b'{"error": "too long"}', "status 400: too long"),
        (422, b'{"detail": [{"loc": "top"}]}', "status 422: [{'loc': 'top'}]"),
        (404, b'{"message": "no page"}', "status 404: no page"),
        (403, b"<html>no</html>", "status 403: <html>no</html>"),
        (400, b"", "status 400: Bad Request"),
        (501, b'"never"', "status 501: never"),
        (302, b"", "status 302: Found"),
    ],
)
def test_a_refusal_is_told_at_once_in_the_servers_words(
    server: OpenAiServer, status: int, body: bytes, message: str
) -> None:
    server.faults = [Fault(status, body)]
    with pytest.raises(RemoteError) as caught:
        ask(server)
    assert caught.value.found.endswith(message)
    assert caught.value.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "fix"), [(401, "MEDTUNE_API_KEY"), (404, "end in /v1")])
def test_a_refusal_says_what_to_do(server: OpenAiServer, status: int, fix: str) -> None:
    server.faults = [Fault(status)]
    with pytest.raises(RemoteError) as caught:
        ask(server)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "something that is not JSON: '<html>'"),
        (b"", "something that is not JSON: ''"),
        (b'{"choices": [', "something that is not JSON"),
        (b"\xff\xfe\xfa", "something that is not JSON"),
        (b"[1]", "a JSON list, not an object"),
        (b"null", "a JSON NoneType, not an object"),
    ],
)
def test_an_answer_that_is_no_object_is_refused(
    server: OpenAiServer, body: bytes, message: str
) -> None:
    server.faults = [Fault(200, body)]
    with pytest.raises(RemoteError, match="answers with") as caught:
        ask(server)
    assert message in caught.value.found
    assert len(server.requests) == 1


def test_an_answer_in_a_broken_encoding_is_refused(server: OpenAiServer) -> None:
    server.faults = [Fault(200, b"{}", {"content-encoding": "gzip"})]
    with pytest.raises(RemoteError, match="chat/completions: "):
        ask(server)


def test_one_failure_ends_the_waiting_of_all(server: OpenAiServer) -> None:
    server.dies_after = 3
    link = Server(pause_s=0.05, parallel=4)
    url = f"{server.url}/chat/completions"
    start = time.perf_counter()
    with pytest.raises(RemoteError, match="does not answer"):
        link.map_parallel(lambda _: link.post(url, BODY), range(200))
    assert time.perf_counter() - start < 10
    assert len(server.requests) < 60
    server.dies_after = None
    assert len(link.map_parallel(lambda _: link.post(url, BODY), range(20))) == 20


def test_results_come_in_order() -> None:
    def late(number: int) -> int:
        time.sleep(0.01 * (number % 3 == 0))
        return -number

    assert Server(parallel=4).map_parallel(late, range(30)) == [-n for n in range(30)]
    assert Server().map_parallel(late, []) == []


# The key


@pytest.mark.parametrize("name", ["MEDTUNE_API_KEY", "OPENAI_API_KEY"])
def test_the_key_is_sent(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    server.key = "secret-7"
    monkeypatch.setenv(name, " secret-7\n")
    assert ask(server)


def test_medtunes_own_key_comes_first(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("MEDTUNE_API_KEY", "mine")
    ask(server)
    assert server.requests[0][2]["authorization"] == "Bearer mine"


def test_no_key_no_header(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTUNE_API_KEY", "")
    ask(server)
    assert "authorization" not in server.requests[0][2]


def test_a_key_that_the_server_quotes_is_not_told(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "right"
    monkeypatch.setenv("MEDTUNE_API_KEY", "secret-7")
    with pytest.raises(RemoteError, match=r"wrong key: Bearer \*\*\*") as caught:
        ask(server)
    assert "secret-7" not in str(caught.value)


@pytest.mark.parametrize("key", ["clé", "two\nlines"])
def test_a_key_that_no_header_may_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("MEDTUNE_API_KEY", key)
    with pytest.raises(RemoteError, match="MEDTUNE_API_KEY contains characters") as caught:
        Server()
    assert key not in str(caught.value)
