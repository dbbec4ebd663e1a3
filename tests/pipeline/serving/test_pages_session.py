from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.pipeline.serving.endpoint import Endpoint, endpoint
from tests.pipeline.serving.test_pages_browser import Browser
from tests.unit.serving.store_cases import Clock, execute

from medtune.serving.auth.authorize import StartToken
from medtune.serving.auth.sessions import (
    SESSION_LIFETIME_S,
    create_form_token,
    verify_form_token,
)
from medtune.serving.pages.page_request import SESSION_COOKIE
from medtune.serving.storage.store import Store

SECRET, OTHER = b"s" * 32, b"t" * 32


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


@pytest.fixture
def started(here: Endpoint) -> tuple[Endpoint, str]:
    """An endpoint with a start-up token, and the token."""
    here.services.authorizer.start = StartToken.create()
    return here, here.services.authorizer.start.text


def test_a_token_belongs_to_one_tie_and_one_endpoint() -> None:
    made = create_form_token("tie", SECRET)
    assert verify_form_token(made, "tie", SECRET)
    assert not verify_form_token(made, "tie2", SECRET)
    assert not verify_form_token(made, "tie", OTHER)
    assert not verify_form_token("", "tie", SECRET)
    assert not verify_form_token("é", "tie", SECRET)


def test_a_token_is_no_hash_of_a_text() -> None:
    for text in ("form\0tie", "ÿform\0tie", "tie"):
        assert hmac.new(SECRET, text.encode(), hashlib.sha256).hexdigest() != create_form_token(
            "tie", SECRET
        )


def test_a_session_ends_by_the_clock_by_its_key_and_by_signing_out(tmp_path: Path) -> None:
    clock = Clock()
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}", now=clock)
    key, secret = store.keys.add("ward-7", "review", 60)
    cookies = [store.sessions.begin(secret) for _ in range(3)]
    assert len(set(cookies)) == 3
    found = store.sessions.find(cookies[0])
    assert found is not None
    assert found[1] == key
    store.sessions.end(cookies[0])
    assert store.sessions.find(cookies[0]) is None
    store.sessions.end(cookies[0])
    clock.forward(SESSION_LIFETIME_S - 1)
    assert store.sessions.find(cookies[1]) is not None
    store.keys.revoke("ward-7")
    found = store.sessions.find(cookies[1])
    assert found is not None
    assert found[1] is None
    clock.forward(1)
    assert store.sessions.find(cookies[1]) is None
    for unknown in ("", "x" * 43, "\0"):
        assert store.sessions.find(unknown) is None
    store.close()


def test_a_session_is_kept_as_a_hash_and_forgotten_when_it_is_over(tmp_path: Path) -> None:
    clock = Clock()
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}", now=clock)
    _, secret = store.keys.add("ward-7", "review", 60)
    first = store.sessions.begin(secret)
    clock.forward(SESSION_LIFETIME_S)
    second = store.sessions.begin(secret)
    store.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for text in (first, second, secret):
        assert text.encode() not in raw
    assert hashlib.sha256(second.encode()).hexdigest().encode() in raw
    assert hashlib.sha256(first.encode()).hexdigest().encode() not in raw


def test_a_cookie_that_was_copied_opens_nothing_after_signing_out(here: Endpoint) -> None:
    browser, thief = Browser(here), Browser(here)
    browser.sign_in("admin")
    thief.cookies.set(SESSION_COOKIE, browser.cookies[SESSION_COOKIE])
    thief.get("/dashboard")
    assert thief.status == 200
    browser.post("/logout")
    assert browser.location == "/login"
    thief.get("/dashboard")
    assert (thief.status, thief.location) == (303, "/login?to=/dashboard")


def test_signing_in_anew_ends_the_former_session(here: Endpoint) -> None:
    browser, thief = Browser(here), Browser(here)
    browser.sign_in("review", "ann")
    thief.cookies.set(SESSION_COOKIE, browser.cookies[SESSION_COOKIE])
    browser.sign_in("review", "bob")
    thief.get("/review")
    assert thief.status == 303


def test_the_address_of_the_start_signs_in_and_loses_its_token(
    started: tuple[Endpoint, str], capsys: pytest.CaptureFixture[str]
) -> None:
    here, text = started
    browser = Browser(here)
    browser.get(f"/?token={text}")
    assert (browser.status, browser.location) == (303, "/")
    assert browser.answer.headers["referrer-policy"] == "no-referrer"
    assert text not in browser.answer.headers["set-cookie"]
    assert text not in browser.follow()
    assert "operator admin Sign out" in browser.text
    browser.get("/review")
    assert browser.status == 200
    browser.get("/dashboard")
    assert browser.status == 200
    assert text not in "".join(capsys.readouterr())
    lines = here.client.get("/v1/reviews/audit", headers={"Authorization": f"Bearer {text}"})
    assert lines.status_code == 200


def test_a_session_of_a_former_start_is_over(started: tuple[Endpoint, str]) -> None:
    here, text = started
    browser = Browser(here)
    browser.get(f"/?token={text}")
    here.services.authorizer.start = StartToken.create()
    browser.get("/review")
    assert browser.status == 303


@pytest.mark.parametrize("wrong", ["", "mt_", "mt_" + "x" * 43, "é", "%00", "A KEY"])
def test_no_other_token_signs_in(started: tuple[Endpoint, str], wrong: str) -> None:
    here, _ = started
    if wrong == "A KEY":  # they belong into no address
        _, wrong = here.store.keys.add("chief", "admin", 60)
    browser = Browser(here)
    text = browser.get(f"/?token={wrong}")
    assert browser.status == 401
    assert "a token of another start" in text
    assert not wrong or wrong not in browser.source
    browser.get("/review")
    assert browser.status == 303


def test_without_a_token_of_its_own_an_endpoint_takes_none(here: Endpoint) -> None:
    browser = Browser(here)
    browser.get("/?token=")
    assert browser.status == 401


def test_every_start_has_another_token() -> None:
    one, other = StartToken.create(), StartToken.create()
    assert one.text != other.text
    assert len(one.text) == len("mt_") + 43
    assert one.matches_text(one.text)
    assert not one.matches_text(other.text)


def test_a_store_that_is_away_ends_no_session(here: Endpoint, tmp_path: Path) -> None:
    browser = Browser(here)
    browser.sign_in("review")
    browser.get("/review")
    execute(f"sqlite:///{tmp_path / 'e.db'}", "ALTER TABLE sessions RENAME TO away")
    browser.get("/review")
    assert browser.status == 503
    execute(f"sqlite:///{tmp_path / 'e.db'}", "ALTER TABLE away RENAME TO sessions")
    browser.get("/review")
    assert browser.status == 200
    assert timedelta(seconds=SESSION_LIFETIME_S) == timedelta(hours=8)
