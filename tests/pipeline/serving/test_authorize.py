"""Who may do what: behind proxies, without keys, blind to what others said; and what is logged."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import event
from tests.pipeline.serving.endpoint import HELD, QUESTION, Endpoint, endpoint

from medtune.serving.api import openai_compat
from medtune.serving.auth.authorize import Authorizer, DeniedError, StartToken, is_forwarded
from medtune.serving.middleware import SafeStream
from medtune.serving.schemas import ApiKey

APPROVE = {"decision": {"kind": "approve"}}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


@pytest.fixture
def port(here: Endpoint) -> Iterator[int]:
    """A port of this machine on which the endpoint listens in earnest."""
    place = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(here.client.app, log_config=None, lifespan="off", proxy_headers=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
    thread.start()
    yield place.getsockname()[1]
    server.should_exit = True
    thread.join(10)


def sent(port: int, path: str, host: str, more: str = "") -> int:
    """Send the bytes that nginx sends for a bare `proxy_pass`; return the status."""
    head = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(head.encode())
        return int(line.makefile("rb").readline().split()[1])


def test_behind_a_plain_proxy_nobody_is_more_than_an_asker(port: int) -> None:
    upstream = f"127.0.0.1:{port}"
    for path in ("/v1/reviews/audit", "/v1/reviews", "/v1/reviews/export"):
        assert sent(port, path, upstream) == 401
        assert sent(port, path, "localhost") == 401
    assert sent(port, "/review", upstream) == 303
    assert sent(port, "/v1/models", upstream) == 200
    for header in ("X-Real-IP: 127.0.0.1", "Via: 1.0 here", "X-Forwarded-Host: x", "CF-Ray: 1"):
        assert sent(port, "/v1/models", upstream, f"{header}\r\n") == 401


@pytest.mark.skipif(shutil.which("nginx") is None, reason="the test above sends the same bytes")
def test_behind_nginx_nobody_is_more_than_an_asker(port: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        front = free.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{front};"
        f" location / {{ proxy_pass http://127.0.0.1:{port}; }} }} }}"
    )
    nginx = subprocess.Popen(
        [shutil.which("nginx") or "nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)],
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", front)) == 0:
                    break
            time.sleep(0.05)
        assert sent(front, "/v1/reviews/audit", "medtune.example.org") == 401
        assert sent(front, "/v1/models", "medtune.example.org") == 200
    finally:
        nginx.terminate()
        nginx.wait(10)


def test_headers_of_proxies_are_known() -> None:
    for name in ("Forwarded", "X-Forwarded-For", "x-forwarded-prefix", "X-Real-IP", "Via"):
        assert is_forwarded([name])
    assert not is_forwarded(["host", "user-agent", "accept", "x-request-id", "authorization"])


def test_the_token_of_the_start_opens_the_api_and_nothing_else_does(here: Endpoint) -> None:
    here.services.authorizer.start = StartToken.create()
    good = {"Authorization": f"Bearer {here.services.authorizer.start.text}"}
    wrong = {"Authorization": f"Bearer {StartToken.create().text}"}
    assert here.client.get("/v1/reviews/audit", headers=good).status_code == 200
    assert here.client.get("/v1/reviews/audit", headers=wrong).status_code == 401
    assert here.client.get("/v1/reviews/audit").status_code == 401


def test_a_session_and_the_text_of_its_key_share_one_limit() -> None:
    key = ApiKey(name="ann", role="review", per_minute=3, created=datetime.now(UTC))
    gate = Authorizer(lambda _secret: key)
    assert gate.admit_key(key, "review", 2) == gate.admit("mt_x", None, False, "ask") == "ann"
    with pytest.raises(DeniedError, match="more than 3 questions") as over:
        gate.admit_key(key, "ask")
    assert over.value.authorized
    with pytest.raises(DeniedError, match="requires the role admin") as lacking:
        gate.admit_key(key, "admin", 0)
    assert (lacking.value.status, lacking.value.authorized) == (403, False)


def test_nobody_without_a_key_reviews(here: Endpoint) -> None:
    number = here.ask(HELD).json()["request_id"]
    for path, body in (
        ("claim", {}), (f"{number}/decision", APPROVE), (f"{number}/second", None),
        (f"{number}/release", None),
    ):  # fmt: skip
        assert here.client.post(f"/v1/reviews/{path}", json=body).status_code == 401
    for path in ("", f"/{number}", "/export"):
        assert here.client.get(f"/v1/reviews{path}").status_code == 401


def test_a_second_opinion_is_blind_over_the_api(here: Endpoint) -> None:
    number = here.ask(HELD).json()["request_id"]
    ann, bob, chief = here.name("ann"), here.name("bob"), here.name("chief", "admin")
    here.client.post("/v1/reviews/claim", json={}, headers=ann)
    edit = {"decision": {"kind": "edit", "chosen": 2, "note": "by the book"}}
    here.client.post(f"/v1/reviews/{number}/decision", json=edit, headers=ann)

    def seen(path: str, head: dict[str, str]) -> Any:
        return here.client.get(path, headers=head).json()

    item = seen(f"/v1/reviews/{number}", bob)
    assert (item["final"], item["opinions"]) == (None, [])
    fate = seen(f"/v1/answer/{number}", bob)
    assert (fate["status"], fate["letter"]) == ("pending_review", None)
    assert seen("/v1/reviews/export", bob) == []
    assert seen(f"/v1/answer/{number}", {})["letter"] == "C"  # whoever asked is told
    assert seen(f"/v1/reviews/{number}", ann)["final"]["chosen"] == 2
    assert len(seen("/v1/reviews/export", ann)) == 1
    assert len(seen("/v1/reviews/export", chief)) == 1
    here.client.post(f"/v1/reviews/{number}/second", headers=bob)
    claimed = here.client.post("/v1/reviews/claim", json={}, headers=bob)
    assert "by the book" not in claimed.text
    said = here.client.post(f"/v1/reviews/{number}/decision", json=APPROVE, headers=bob)
    assert [one["reviewer"] for one in said.json()["opinions"]] == ["bob"]
    assert "by the book" not in seen(f"/v1/reviews/{number}", bob).__repr__()
    assert seen(f"/v1/reviews/{number}", ann)["item"]["state"] == "contested"


def test_one_reviewer_does_not_hold_the_queue(here: Endpoint) -> None:
    for _ in range(6):
        here.ask(HELD)
    ann, bob = here.name("ann"), here.name("bob")
    codes = [
        here.client.post("/v1/reviews/claim", json={}, headers=ann).status_code for _ in range(6)
    ]
    assert codes == [200] * 5 + [409]
    assert here.client.post("/v1/reviews/claim", json={}, headers=bob).status_code == 200


HALF = "\\ud800"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/answer", {"stem": "Which?", "options": ["a", "b"], "subject": "HALF"}),
        ("/v1/answer", {"stem": "HALF", "options": ["a", "b"]}),
        ("/v1/answer", {"stem": "Which?", "options": ["a", "HALF"]}),
        ("/v1/answer", {"stem": "Which?", "options": ["a", "b"], "HALF": 1}),
        ("/v1/answer/batch", {"questions": [{"stem": "HALF", "options": ["a", "b"]}]}),
        ("/v1/chat/completions", {"model": "HALF", "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "HALF"}]}),
        ("/v1/feedback", {"request_id": "0" * 32, "HALF": True}),
        (f"/v1/reviews/{'0' * 32}/decision", {"decision": {"kind": "reject", "note": "HALF"}}),
        ("/v1/reviews/claim", {"request_id": "HALF"}),
    ],
)
def test_half_a_surrogate_pair_is_no_text(here: Endpoint, path: str, body: dict[str, Any]) -> None:
    head = {"content-type": "application/json", **here.name("ann")}
    sent_body = json.dumps(body).replace("HALF", HALF).encode()
    answer = here.client.post(path, content=sent_body, headers=head)
    assert answer.status_code == (400 if path in openai_compat.OPENAI_PATHS else 422)
    assert here.client.get("/healthz").status_code == 200


def test_what_nobody_foresaw_is_logged_by_its_place_and_not_its_words(
    here: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("input_value='Which zebrafish enzyme?'")

    monkeypatch.setattr(here.services.engine, "_run_guards", fail)
    answer = here.ask({**QUESTION, "stem": "Which zebrafish enzyme?"})
    assert answer.status_code == 500
    assert "zebrafish" not in answer.text
    said = "".join(capsys.readouterr())
    assert "ValueError" in said
    assert "engine.py" in said
    assert "zebrafish" not in said


def test_probes_that_come_together_cost_one(here: Endpoint) -> None:
    times: list[float] = []
    here.services.probes["store"] = lambda: times.append(time.monotonic())
    here.services.ready_s = 60.0
    for _ in range(20):
        assert here.client.get("/readyz").status_code == 200
    assert len(times) == 1


def test_a_full_disk_is_told_by_the_readiness_and_is_never_a_500(here: Endpoint) -> None:
    with here.store._database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

    @event.listens_for(here.store._database._engine, "checkout")
    def _full(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    codes = {
        here.ask({**HELD, "stem": f"What is the dose of drug {n}? " + "x" * 2000}).status_code
        for n in range(30)
    }
    assert 503 in codes
    assert codes <= {200, 503}
    ready = here.client.get("/readyz")
    assert (ready.status_code, ready.json()["faults"]) == (503, ["the store is unavailable"])
    event.remove(here.store._database._engine, "checkout", _full)
    with here.store._database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    here.store._database._engine.dispose()
    assert here.client.get("/readyz").status_code == 200


def test_a_log_that_cannot_be_written_fails_no_request() -> None:
    class Full:
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    stream = SafeStream(Full())  # type: ignore[arg-type]
    assert stream.write("x") == 0
    stream.flush()
