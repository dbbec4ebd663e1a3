"""A browser without scripts before the endpoint's pages, and what holds for every page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.pipeline.serving.endpoint import HELD, Endpoint, endpoint


@dataclass
class Browser:
    """Somebody's browser: it has cookies of its own, and sends forms as they stand on the page."""

    here: Endpoint
    cookies: httpx2.Cookies = field(default_factory=httpx2.Cookies)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    source: str = ""
    location: str | None = None
    answer: Any = None

    def get(self, path: str) -> str:
        """Load a page; return its text."""
        return self._send("GET", path)

    def follow(self) -> str:
        """Go where the last answer sent the browser."""
        assert self.location is not None, self.text
        return self.get(self.location)

    def post(self, path: str, **fields: Any) -> str:
        """Send a form of the page that is open, or of the one to sign in."""
        if not re.search(r'name="token"', self.source):
            self.get("/login")
        return self._send("POST", path, data={"token": self.token, **fields})

    @property
    def token(self) -> str:
        found = re.search(r'name="token" value="(\w+)"', self.source)
        assert found is not None, "there is no form"
        return found[1]

    @property
    def text(self) -> str:
        """What is read on the page, without markup."""
        body = re.sub(r"<title>.*?</title>", "", self.source, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())

    def sign_in(self, role: str, name: str | None = None, per_minute: int = 1000) -> str:
        """Sign in with a new key; return it."""
        name = name or f"the-{role}"
        _, secret = self.here.store.keys.add(name, role, per_minute)  # type: ignore[arg-type]
        self.post("/login", key=secret)
        assert self.status == 303, self.text
        self.source = ""
        return secret

    def ask(self, question: dict[str, Any]) -> str:
        """Ask by the form."""
        return self.post("/", stem=question["stem"], option=question["options"],
                         subject=question.get("subject", ""))  # fmt: skip

    def held(self, question: dict[str, Any] = HELD) -> str:
        """Ask what waits for a reviewer; return the request's id."""
        self.ask(question)
        found = re.search(r'href="/answer/([0-9a-f]{32})"', self.source)
        assert found is not None, self.text
        return found[1]

    def _send(self, method: str, path: str, **how: Any) -> str:
        client = self.here.client
        client.cookies = self.cookies
        answer = client.request(method, path, headers=self.headers, follow_redirects=False, **how)
        self.cookies, client.cookies = client.cookies, httpx2.Cookies()
        self.answer, self.status = answer, answer.status_code
        self.location = answer.headers.get("location")
        if self.location is None:
            self.source = answer.text
        return self.text


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


PAGES = ("/", "/login", "/review", "/dashboard", "/dashboard?days=30", "/answer/" + "0" * 32)


@pytest.mark.parametrize("path", [*PAGES, "ITEM", "FATE"])
def test_a_page_loads_nothing_from_elsewhere_and_holds_no_script_or_style(
    here: Endpoint, path: str
) -> None:
    browser = Browser(here)
    request_id = browser.held()
    browser.sign_in("review")
    browser.get({"ITEM": f"/review/{request_id}", "FATE": f"/answer/{request_id}"}.get(path, path))
    page, headers = browser.source, browser.answer.headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/enhance.js" defer>']
    links = re.findall(r'(?:href|src|action)="([^"]*)"', page)
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)
    assert 'lang="en"' in page
    assert len(re.findall(r"<h1\b", page)) == 1
    assert page.count('href="#main"') == page.count('id="main"') == 1
    assert "Not medical advice" in browser.text


def test_what_pages_load_is_there(here: Endpoint) -> None:
    browser = Browser(here)
    browser.get("/")
    for path in re.findall(r'(?:href|src)="(/static/[^"]*)"', browser.source):
        assert here.client.get(path).status_code == 200
    assert {"/static/style.css", "/static/enhance.js", "/static/icon.svg"} <= set(
        re.findall(r'"(/static/[^"]*)"', browser.source)
    )


def test_pages_are_no_part_of_the_api_s_description(here: Endpoint) -> None:
    paths = here.client.get("/openapi.json").json()["paths"]
    assert not {"/", "/login", "/review", "/dashboard"} & set(paths)
