from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.pipeline.serving.endpoint import QUESTION, Endpoint, endpoint
from tests.pipeline.serving.test_pages_browser import Browser

from medtune.serving.pages import ask as ask_page
from medtune.serving.pages import dashboard as dashboard_page
from medtune.serving.pages import login as login_page
from medtune.serving.pages import reviews as review_page
from medtune.serving.pages.page_request import SESSION_COOKIE

ELSEWHERE = "203.0.113.7"
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint whose callers are on other machines."""
    with endpoint(tmp_path, host=ELSEWHERE) as made:
        yield made


def cookie(browser: Browser, name: str = SESSION_COOKIE) -> str:
    """Find how the last answer set a cookie."""
    set_cookies = browser.answer.headers.get_list("set-cookie")
    return next((line for line in set_cookies if line.startswith(f"{name}=")), "")


def test_on_this_machine_anybody_may_ask_and_no_more(here: Endpoint) -> None:
    browser = Browser(here)
    browser.get("/")
    assert browser.status == 200
    assert "this machine" in browser.text
    assert 'href="/review"' not in browser.source
    for path in ("/review", "/dashboard"):
        browser.get(path)
        assert (browser.status, browser.location) == (303, f"/login?to={path}")
    browser.get("/")
    browser.post("/review/claim")
    assert browser.status == 401


@pytest.mark.parametrize("path", ["/", "/review", "/dashboard", "/answer/" + "0" * 32])
def test_from_elsewhere_every_page_leads_to_the_sign_in(away: Endpoint, path: str) -> None:
    browser = Browser(away)
    browser.get(path)
    assert (browser.status, browser.location) == (303, f"/login?to={path}")
    browser.follow()
    assert f'name="to" value="{path}"' in browser.source


def test_a_form_from_elsewhere_says_that_a_key_is_needed(away: Endpoint) -> None:
    browser = Browser(away)
    text = browser.ask(QUESTION)
    assert browser.status == 401
    assert "Please sign in with a key." in text
    assert "fake:constant" not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"}, {"X-Forwarded-Proto": "http"}, {"x-real-ip": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"}, {"via": "1.1 proxy"}, {"cf-connecting-ip": "127.0.0.1"},
        {"True-Client-IP": "::1"}, {"x-envoy-external-address": "::1"}, {"host": "evil.example"},
    ],
)  # fmt: skip
def test_a_proxy_or_a_foreign_name_is_not_this_machine(
    here: Endpoint, headers: dict[str, str]
) -> None:
    browser = Browser(here, headers=headers)
    browser.get("/")
    assert browser.location == "/login?to=/"
    assert here.ask(headers=headers).status_code == 401


def test_a_key_signs_in_for_eight_hours(away: Endpoint) -> None:
    browser = Browser(away)
    _, secret = away.store.keys.add("ward-7", "review", 60)
    browser.get("/login?to=/review")
    browser.post("/login", key=secret, to="/review")
    assert (browser.status, browser.location) == (303, "/review")
    line = cookie(browser)
    assert "HttpOnly" in line
    assert "SameSite=strict" in line
    assert f"Max-Age={8 * 3600}" in line
    assert "Secure" not in line
    assert secret not in line
    browser.get("/review")
    assert browser.status == 200
    assert "ward-7 review Sign out" in browser.text
    browser.get("/")
    browser.ask(QUESTION)
    assert "Answered" in browser.text
    (entry,) = away.store.requests.iter_period(*EVER)
    assert entry.caller == "ward-7"


@pytest.mark.parametrize("how", ["scheme", "forwarded"])
def test_over_https_the_cookies_are_secure(away: Endpoint, how: str) -> None:
    browser = Browser(away, headers={"x-forwarded-proto": "https"} if how == "forwarded" else {})
    _, secret = away.store.keys.add("ward-7", "ask", 60)
    if how == "scheme":
        browser.here.client.base_url = "https://127.0.0.1"
    browser.get("/login")
    assert "Secure" in cookie(browser, "medtune_visitor")
    if how == "forwarded":  # this browser keeps no secure cookie of a plain address
        browser.cookies.set(
            "medtune_visitor", cookie(browser, "medtune_visitor").split("=")[1][:22]
        )
    browser.post("/login", key=secret)
    assert "Secure" in cookie(browser)


@pytest.mark.parametrize("key", ["", "mt_wrong", "<b>", "é" * 40, "k" * 5000])
def test_a_wrong_key_is_a_sentence_and_is_not_shown(away: Endpoint, key: str) -> None:
    browser = Browser(away)
    text = browser.post("/login", key=key)
    assert browser.status == 401
    assert "This key is not known, or it was revoked." in text
    assert not key or key not in browser.source.replace("<b>Not done.</b>", "")
    assert not cookie(browser)


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/review/../..", "/v1/reviews", "/\nx", ""]
)
def test_a_sign_in_leads_nowhere_else(away: Endpoint, to: str) -> None:
    browser = Browser(away)
    _, secret = away.store.keys.add("ward-7", "ask", 60)
    browser.post("/login", key=secret, to=to)
    assert browser.location == "/"


def test_review_and_dashboard_need_their_role(away: Endpoint) -> None:
    browser = Browser(away)
    browser.sign_in("ask")
    for path in ("/review", "/dashboard", "/review/" + "0" * 32):
        text = browser.get(path)
        assert browser.status == 403
        assert "this requires the role review, the key has ask" in text
        assert "Sign in with another key" in text
    browser.get("/")
    assert browser.status == 200
    assert 'href="/review"' not in browser.source
    browser.post("/review/claim")
    assert browser.status == 403


def test_signing_out_ends_it(away: Endpoint) -> None:
    browser = Browser(away)
    browser.sign_in("admin")
    browser.get("/dashboard")
    assert browser.status == 200
    browser.post("/logout")
    assert browser.location == "/login"
    browser.get("/dashboard")
    assert browser.status == 303


@pytest.mark.parametrize("cookie", ["x" * 43, "nonsense", "", ".", "=." + "0" * 64])
def test_only_what_was_begun_here_is_a_session(away: Endpoint, cookie: str) -> None:
    browser = Browser(away)
    browser.cookies.set(SESSION_COOKIE, cookie)
    browser.get("/review")
    assert browser.status == 303


def test_a_revoked_key_ends_the_session_at_once(away: Endpoint) -> None:
    browser = Browser(away)
    browser.sign_in("review", "ward-7")
    browser.get("/review")
    assert browser.status == 200
    away.store.keys.revoke("ward-7")
    browser.get("/review")
    assert browser.location == "/login?to=/review"
    assert 'medtune_session=""' in cookie(browser)


def test_pages_and_api_share_one_limit(away: Endpoint) -> None:
    browser = Browser(away)
    secret = browser.sign_in("ask", per_minute=3)  # this was the first
    away.client.cookies.clear()
    bearer = {"Authorization": f"Bearer {secret}"}
    assert away.ask(headers=bearer).status_code == 200
    browser.ask(QUESTION)
    assert browser.status == 200
    text = browser.ask(QUESTION)
    assert browser.status == 429
    assert "That is more than 3 questions a minute. Please try again in" in text
    assert int(browser.answer.headers["retry-after"]) in (19, 20)
    assert QUESTION["stem"] in browser.source
    assert away.ask(headers=bearer).status_code == 429
    browser.get("/answer/" + "0" * 32)
    assert browser.status == 429
    assert browser.answer.headers["content-type"].startswith("text/html")


POSTS = (
    "/", "/login", "/logout", "/answer/ID/feedback", "/review/claim", "/review/ID/claim",
    "/review/ID/decision", "/review/ID/second", "/review/ID/release",
)  # fmt: skip


def test_every_form_is_among_those_that_are_tested(here: Endpoint) -> None:
    found = {
        route.path.replace("{request_id}", "ID")
        for pages in (ask_page, login_page, review_page, dashboard_page)
        for route in pages.router.routes
        if "POST" in route.methods
    }
    assert found == set(POSTS)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", ["missing", "wrong", "another's"])
def test_a_form_without_its_token_does_nothing(here: Endpoint, path: str, token: str) -> None:
    browser, other = Browser(here), Browser(here)
    browser.sign_in("review")
    held = browser.held()
    other.get("/login")
    before = here.store.audit.verify_lines()
    fields = {"missing": {}, "wrong": {"token": "0" * 64}, "another's": {"token": other.token}}
    sent = {"stem": "Which?", "option": ["a", "b"], "helpful": "yes", "decision": "approve"}
    browser._send("POST", path.replace("ID", held), data={**sent, **fields[token]})
    assert browser.status == 403
    assert "This form is out of date, so nothing was done." in browser.text
    assert here.store.audit.verify_lines() == before
    assert here.store.requests.list_feedback() == []
    assert here.store.requests.count().by_status == {"pending_review": 1}


def test_a_token_of_before_the_sign_in_holds_no_longer(here: Endpoint) -> None:
    browser = Browser(here)
    browser.get("/")
    before = browser.token
    browser.sign_in("review")
    browser._send("POST", "/review/claim", data={"token": before})
    assert browser.status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"sec-fetch-site": "none"}, 303),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, 303),
        ({"origin": "http://127.0.0.1"}, 303),
        ({"origin": "http://127.0.0.1:81"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
    ],
)
def test_another_site_s_form_is_refused(
    here: Endpoint, headers: dict[str, str], status: int
) -> None:
    browser = Browser(here)
    browser.held()
    browser.sign_in("review")
    browser.get("/review")
    browser.headers = headers
    browser.post("/review/claim")
    assert browser.status == status
    if status == 403:
        assert "This was sent by another site, so nothing was done." in browser.text
        assert here.store.requests.count().held == 0


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", ""])
def test_only_plain_forms_are_read(here: Endpoint, kind: str) -> None:
    browser = Browser(here)
    browser.get("/")
    answer = here.client.post("/", content=b"token=x", headers={"content-type": kind})
    assert answer.status_code == 415
    assert answer.headers["content-type"].startswith("text/html")


def test_too_many_fields_are_a_page_too(here: Endpoint) -> None:
    browser = Browser(here)
    browser.post("/", option=["x"] * 50)
    assert browser.status == 400
    assert browser.answer.headers["content-type"].startswith("text/html")


def test_a_form_that_is_no_utf8_does_no_harm(here: Endpoint) -> None:
    browser = Browser(here)
    browser.get("/")
    body = f"token={browser.token}&stem=%ED%A0%80%FF%00?&option=%C3%28&option=b".encode()
    here.client.cookies = browser.cookies
    answer = here.client.post(
        "/", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 200
