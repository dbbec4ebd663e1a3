from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medtune.analysis.review_server import LARGEST_BODY, ReviewServer
from medtune.core.errors import FolderError, InputError
from medtune.core.review import ReviewItem
from medtune.core.review_folder import MarkFile, read_marks

ITEMS = [
    ReviewItem(
        id=f"s-{n}",
        stem="Which </script><script>alert(1)</script>?",
        options=("Yes", "No", "Maybe"),
        text="<b>No</b>\n  indented",
    )
    for n in "123"
]


class Page:
    """A browser of sorts."""

    def __init__(self, server: ReviewServer) -> None:
        self.server = server
        self.origin = f"http://127.0.0.1:{server.server_port}"

    def __call__(
        self,
        method: str,
        name: str,
        content: Any = None,
        key: str | None = None,
        **headers: str | None,
    ) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        sent = {"Content-Type": "application/json", "Origin": self.origin} if content else {}
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {k: v for k, v in (sent | changed).items() if v is not None}
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        path = f"/{self.server.key if key is None else key}/{name}"
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, answer.headers

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("GET", "items")[1])
        return found


def running(server: ReviewServer) -> Iterator[Page]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Page(server)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    yield from running(ReviewServer(tmp_path, ITEMS, None, 0, "medtune review score x"))


MARK = {"item": "s-2", "choice": 1, "note": " hm "}


def test_it_listens_to_this_machine_only(page: Page) -> None:
    assert page.server.server_address[0] == "127.0.0.1"
    assert page.server.url.startswith(f"{page.origin}/")
    assert len(page.server.key) >= 32


def test_the_page_loads_nothing_from_elsewhere(page: Page) -> None:
    status, text, headers = page("GET", "")
    assert status == 200
    assert "medtune review score x" in text
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {"review.css", "review.js"}
    assert not re.search(r"<script(?![^>]*src)|\son\w+=|style=", text)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self' 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    for name, kind in (("review.js", "text/javascript"), ("review.css", "text/css")):
        status, text, headers = page("GET", name)
        assert status == 200
        assert headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert "http" not in text
        assert "innerHTML" not in text


def test_the_items_are_given_as_they_are(page: Page) -> None:
    assert page.state() == {
        "reviewer": None,
        "letters": "ABCDEFGHIJ",
        "items": [item.model_dump(mode="json") for item in ITEMS],
        "marks": {},
    }


def test_a_name_then_marks_then_the_same_page_again(page: Page, tmp_path: Path) -> None:
    assert page("POST", "marks", MARK)[0] == 400
    assert page("POST", "reviewer", {"name": "a b"})[0] == 400
    assert page("POST", "reviewer", {"name": "anna"})[0] == 200
    assert page("POST", "reviewer", {"name": "anna"})[0] == 200
    status, text, _ = page("POST", "reviewer", {"name": "ben"})
    assert status == 400
    assert "this page is anna's" in text
    status, text, _ = page("POST", "marks", MARK)
    assert (status, json.loads(text)) == (200, {"done": 1, "reviewer": "anna"})
    page("POST", "marks", {"item": "s-1", "choice": 0})
    page("POST", "marks", {"item": "s-1", "choice": "unsure"})
    state = page.state()
    assert state["reviewer"] == "anna"
    assert state["marks"] == {
        "s-2": {"choice": 1, "note": "hm"},
        "s-1": {"choice": "unsure", "note": ""},
    }
    found, _ = read_marks(tmp_path / "marks-anna.jsonl")
    assert found["s-2"].at.endswith("+00:00")


def test_marking_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for choice, expected in ((0, {}), (2, {"s-2": {"choice": 0, "note": ""}})):
        server = ReviewServer(tmp_path, ITEMS, "anna", 0, "")
        for page in running(server):
            assert page.state()["marks"] == expected
            page("POST", "marks", {"item": "s-2", "choice": choice})
    assert read_marks(tmp_path / "marks-anna.jsonl")[0]["s-2"].choice == 2


def test_some_items_only(tmp_path: Path) -> None:
    file = MarkFile(tmp_path, "anna", ITEMS)
    file.close()
    for page in running(ReviewServer(tmp_path, ITEMS, "anna", 0, "", shown={"s-2"})):
        assert [item["id"] for item in page.state()["items"]] == ["s-2"]
        assert page("POST", "marks", {"item": "s-1", "choice": 0})[0] == 400


@pytest.mark.parametrize("name", ["", "items", "review.js"])
def test_nothing_is_given_without_the_key(page: Page, name: str) -> None:
    for key in ("", "x", page.server.key[:-1], f"{page.server.key}x", "%2e%2e"):
        status, text, _ = page("GET", name, key=key)
        assert status == 404
        assert "Maybe" not in text


@pytest.mark.parametrize("name", ["../x", "ledger.jsonl", "..%2fledger.jsonl", "items/", "marks"])
def test_no_file_is_served(page: Page, name: str) -> None:
    assert page("GET", name)[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:{port}", ""]
)
def test_another_host_is_refused(page: Page, host: str) -> None:
    """A name that another site points at this machine (DNS rebinding)."""
    said = host.format(port=page.server.server_port)
    status, text, _ = page("GET", "items", Host=said)
    assert status == 403
    assert "Maybe" not in text
    assert page("POST", "marks", MARK, Host=said)[0] == 403
    assert page("GET", "items", Host=f"localhost:{page.server.server_port}")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": "x"}, 411),
        ({"Content_Length": str(LARGEST_BODY + 1)}, 413),
    ],
)
def test_a_mark_must_come_from_the_page(
    page: Page, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    page("POST", "reviewer", {"name": "anna"})
    assert page("POST", "marks", MARK, **headers)[0] == status
    assert page("POST", "marks", MARK, key="x")[0] == 404
    assert read_marks(tmp_path / "marks-anna.jsonl")[0] == {}


@pytest.mark.parametrize(
    "content",
    [
        {"item": "s-9", "choice": 0},
        {"item": "s-1", "choice": 3},
        {"item": "s-1", "choice": -1},
        {"item": "s-1", "choice": "maybe"},
        {"item": "s-1", "choice": None},
        {"item": "s-1", "choice": 0, "reviewer": "ben"},
        {"item": "s-1", "choice": 0, "note": "x" * 1001},
        {"item": "s-1"},
        [1],
        b"{",
        b"\xff",
    ],
)
def test_a_mark_that_is_none_is_refused(page: Page, tmp_path: Path, content: Any) -> None:
    page("POST", "reviewer", {"name": "anna"})
    status, text, _ = page("POST", "marks", content)
    assert status == 400
    assert json.loads(text)["error"]
    assert read_marks(tmp_path / "marks-anna.jsonl")[0] == {}


def test_the_longest_note_fits(page: Page) -> None:
    page("POST", "reviewer", {"name": "anna"})
    note = "\U0001f600" * 1000  # written as two escapes of six bytes
    assert page("POST", "marks", {"item": "s-1", "choice": 0, "note": note})[0] == 200


def test_a_full_disk_is_told_on_the_page(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: MarkFile, mark: object) -> None:
        raise FolderError("cannot write x: the disk is full")

    page("POST", "reviewer", {"name": "anna"})
    monkeypatch.setattr(MarkFile, "add", full)
    status, text, _ = page("POST", "marks", MARK)
    assert status == 500
    assert "the disk is full" in text
    assert page.state()["marks"] == {}


def test_nothing_is_logged(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    page("GET", "")
    page("GET", "nothing")
    page("PUT", "items")
    assert capsys.readouterr() == ("", "")


def test_a_port_that_cannot_be_had(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"(?s)port {port}: taken.*choose another --port"):
            ReviewServer(tmp_path, ITEMS, "anna", port, "")
    with pytest.raises(InputError, match="port 70000: no port number"):
        ReviewServer(tmp_path, ITEMS, "anna", 70000, "")


def test_a_bad_name_or_a_second_page_leaves_no_port_open(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be a reviewer's name"):
        ReviewServer(tmp_path, ITEMS, "a/b", 0, "")
    first = ReviewServer(tmp_path, ITEMS, "anna", 0, "")
    with pytest.raises(FolderError, match="written by another page"):
        ReviewServer(tmp_path, ITEMS, "anna", 0, "")
    first.server_close()
