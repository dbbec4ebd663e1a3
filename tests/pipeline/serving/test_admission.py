"""Who is let in comes before what they send, and a crisis before a limit."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.serving.endpoint import QUESTION, endpoint
from tests.pipeline.serving.test_crisis import CRISIS
from tests.pipeline.serving.test_pages_browser import Browser

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails import pipeline
from medtune.guardrails.pipeline import scan_for_crisis
from medtune.guardrails.policy import load_policy
from medtune.serving.api.request_models import check_unicode
from medtune.serving.auth.authorize import WRONG_KEYS_PER_MINUTE
from medtune.serving.inference import engine

AWAY = "203.0.113.9"


def wrong(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer mt_{number}"}


def test_a_wrong_key_over_its_limit_is_told_so_before_the_body(tmp_path: Path) -> None:
    """No crisis is looked for: nobody knows who it is."""
    with endpoint(tmp_path, host=AWAY) as made:
        codes = [made.ask(CRISIS, headers=wrong(n)).status_code for n in range(25)]
        assert codes == [401] * WRONG_KEYS_PER_MINUTE + [429] * 5
        broken = made.client.post("/v1/answer", content=b"{", headers=wrong(99))
        assert broken.status_code == 429


def test_a_batch_over_the_limit_is_turned_away_but_for_a_crisis(tmp_path: Path) -> None:
    with endpoint(tmp_path, host=AWAY) as made:
        head = made.key("ask", 3)
        large = {"questions": [QUESTION] * 5}
        answer = made.client.post("/v1/answer/batch", json=large, headers=head)
        assert answer.status_code == 429
        body = {"questions": [*large["questions"], CRISIS]}
        replies = made.client.post("/v1/answer/batch", json=body, headers=head).json()["replies"]
        assert [reply["status"] for reply in replies] == ["deferred"] * 5 + ["refused"]
        assert replies[-1]["card"]["name"] == "crisis"


def test_a_crisis_in_an_earlier_turn_gets_its_card_over_the_limit(tmp_path: Path) -> None:
    turns = [CRISIS["stem"], "Which vitamin is it?\nA. Vitamin A\nB. Vitamin C"]
    chat: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": text} for text in turns],
    }
    calm = {**chat, "messages": chat["messages"][1:]}
    with endpoint(tmp_path, host=AWAY) as made:
        head = made.key("ask", 1)
        assert made.ask(headers=head).status_code == 200
        path = "/v1/chat/completions"
        assert made.client.post(path, json=calm, headers=head).status_code == 429
        said = made.client.post(path, json=chat, headers=head)
        assert said.status_code == 200
        assert said.json()["medtune"]["card"]["name"] == "crisis"


def test_a_crisis_is_not_ruled_out_without_the_time_to_look() -> None:
    found = scan_for_crisis(
        Inquiry(stem="Which vitamin?"), load_policy(), until=time.monotonic() - 1
    )
    assert found is not None
    assert (found.action, found.reason, found.card) == ("refuse", "size.time", "crisis")
    assert scan_for_crisis(Inquiry(stem="Which vitamin?"), load_policy()) is None


@pytest.mark.parametrize("path", ["/", "/review/claim", "/answer/" + "0" * 32 + "/feedback"])
def test_no_form_is_read_before_its_sender_is_let_in(tmp_path: Path, path: str) -> None:
    """What is no form is a 415 to whoever may send one, and nothing to anybody else."""
    with endpoint(tmp_path, host=AWAY) as made:
        answer = made.client.post(path, json={"stem": "x"}, follow_redirects=False)
        assert answer.status_code == 401
        browser = Browser(made)
        browser.sign_in("review")
        head = {"cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
        assert made.client.post(path, json={"stem": "x"}, headers=head).status_code == 415


def test_guards_of_a_form_work_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    real = pipeline.run_local_guards

    def looked(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*args)

    with endpoint(tmp_path) as made:
        monkeypatch.setattr(engine, "run_local_guards", looked)
        browser = Browser(made)
        browser.post("/", stem="What is it?")
        assert browser.status == 422
        browser.ask(QUESTION)
        assert browser.status == 200
    assert len(threads) == 2
    assert all(name.startswith("guards") for name in threads)


@pytest.mark.parametrize("deep", [200, 900, 4000])
@pytest.mark.parametrize("path", ["/v1/answer", "/v1/chat/completions", "/v1/feedback"])
def test_a_body_of_lists_in_lists_is_no_fault_of_the_endpoint(
    tmp_path: Path, path: str, deep: int
) -> None:
    body = b'{"model": "m", "messages": %s1%s}' % (b"[" * deep, b"]" * deep)
    with endpoint(tmp_path) as made:
        answer = made.client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)


def test_whoever_is_over_a_limit_takes_no_turn_of_others(tmp_path: Path) -> None:
    """Guards of theirs that hang do not delay those of who may ask."""
    with endpoint(tmp_path, host=AWAY) as made:
        over, right = made.key("ask", 1), made.key("ask", 100)
        assert made.ask(headers=over).status_code == 200
        hung = threading.Event()
        made.services.engine._crisis_thread.submit(hung.wait, 20.0)
        slow = threading.Thread(target=made.ask, args=(CRISIS,), kwargs={"headers": over})
        slow.start()
        begin = time.perf_counter()
        assert made.ask(headers=right).json()["status"] == "answered"
        assert time.perf_counter() - begin < 10
        hung.set()
        slow.join()


def test_a_burst_of_one_caller_is_no_wait_for_another(tmp_path: Path) -> None:
    looked_at: list[str] = []
    look = pipeline.run_local_guards

    def slow(inquiry: Inquiry, *given: Any) -> Any:
        looked_at.append(inquiry.stem)
        time.sleep(0.3)
        return look(inquiry, *given)

    with (
        endpoint(tmp_path, host=AWAY) as made,
        pytest.MonkeyPatch.context() as patch,
        ThreadPoolExecutor(10) as callers,
    ):
        patch.setattr(engine, "run_local_guards", slow)
        many, one = made.key("ask", 100), made.key("ask", 50)
        for _ in range(9):
            callers.submit(made.ask, headers=many)
        time.sleep(0.4)
        stem = "Which vitamin is deficient in rickets?"
        assert made.ask({**QUESTION, "stem": stem}, headers=one).status_code == 200
        assert looked_at.index(stem) < 5


@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_a_form_that_anybody_may_send_is_short(tmp_path: Path, path: str) -> None:
    with endpoint(tmp_path, host=AWAY) as made:
        assert made.client.post(path, data={"key": "k" * 20_000}).status_code == 413


@pytest.mark.parametrize("body", [[0] * 200_000, {"more": [0] * 200_000}, ["x"] * 200_000])
def test_thousands_of_values_are_not_looked_at_one_by_one(body: Any) -> None:
    begin = time.thread_time()
    with pytest.raises(ValueError, match="more than 20,000 values"):
        check_unicode(body)
    assert time.thread_time() - begin < 0.02
