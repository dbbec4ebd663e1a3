"""The page on which a reviewer adjudicates, served to this machine alone.

It listens on 127.0.0.1 only. Every address begins with a key drawn at random, so that other users
of the machine and other sites in the browser cannot guess one; the Host header must be this
machine's (against DNS rebinding), and a mark must come from the page itself. Nothing is loaded
from anywhere else. Neither key nor reading is known here: the sealed ledger is never opened.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from medtune.analysis.page import render
from medtune.core.errors import InputError, MedtuneError
from medtune.core.records import LETTERS, Record
from medtune.core.review import NOTE_LENGTH, Choice, ReviewItem, ReviewMark
from medtune.core.review_folder import MarkFile, check_marks, reviewer_name

ADDRESS = "127.0.0.1"
LARGEST_BODY = 16 * 1024
"""Bytes of a mark with its note; NOTE_LENGTH characters take at most 12 KiB as JSON."""


class _Said(Record):
    """What the page sends."""

    item: str
    choice: Choice
    note: str = ""


class ReviewServer(ThreadingHTTPServer):
    """Serves the blind items and keeps the marks.

    Args:
        folder: Where the marks go.
        items: All items of the sample.
        reviewer: Whose marks; None lets the page ask.
        port: 0 takes a free one.
        command: What to run when all is marked; shown on the page.
        shown: Ids of the items to show; None for all.

    Raises:
        InputError: The port cannot be had, or the reviewer's name cannot be used.
        FolderError: The marks cannot be written, or another page writes them.
        PredictionsError: The reviewer's marks so far cannot be read.
    """

    daemon_threads = True

    def __init__(
        self,
        folder: Path,
        items: Sequence[ReviewItem],
        reviewer: str | None,
        port: int,
        command: str,
        shown: Collection[str] | None = None,
    ) -> None:
        self._folder = folder
        self._all = items
        self.items = {item.id: item for item in items if shown is None or item.id in shown}
        self.marks: MarkFile | None = None
        self.reviewer: str | None = None
        self._naming = Lock()
        page = render("review.html", longest=NOTE_LENGTH, command=command)
        assets = files("medtune.analysis") / "templates"
        self.pages = {
            "": ("text/html", page),
            "review.js": ("text/javascript", (assets / "review.js").read_text("utf-8")),
            "review.css": ("text/css", (assets / "review.css").read_text("utf-8")),
        }
        self.policy = _policy(page)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"port {port}: {_why(error)}", fix="choose another --port") from error
        self.key = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        try:
            if reviewer is not None:
                self.name(reviewer)
        except MedtuneError:
            self.server_close()
            raise

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/{self.key}/"

    @property
    def done(self) -> int:
        """Count the shown items that are marked."""
        return len(self.items.keys() & self.marks.marks.keys()) if self.marks else 0

    def name(self, reviewer: str) -> None:
        """Learn who marks; the first name stays."""
        with self._naming:
            reviewer = reviewer_name(reviewer)
            if self.marks is None:
                self.marks = MarkFile(self._folder, reviewer, self._all)
                self.reviewer = reviewer
            elif reviewer != self.reviewer:
                raise InputError(f"this page is {self.reviewer}'s", fix="serve another one")

    def mark(self, said: _Said) -> None:
        """Keep a mark."""
        if self.marks is None or self.reviewer is None:
            raise InputError("nobody has given a name", fix="load the page again")
        mark = ReviewMark(
            item=said.item,
            reviewer=self.reviewer,
            choice=said.choice,
            note=said.note.strip(),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        check_marks(Path("page"), [mark], list(self.items.values()))
        self.marks.add(mark)

    def state(self) -> dict[str, object]:
        """Describe what the page shows; all of it is blind."""
        marks = self.marks.marks if self.marks else {}
        return {
            "reviewer": self.reviewer,
            "letters": LETTERS,
            "items": [item.model_dump() for item in self.items.values()],
            "marks": {
                item: {"choice": mark.choice, "note": mark.note}
                for item, mark in dict(marks).items()
                if item in self.items
            },
        }

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a browser go that went; whatever else goes wrong is ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def server_close(self) -> None:
        """Stop listening, and let go of the marks."""
        super().server_close()
        if self.marks is not None:
            self.marks.close()


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ReviewServer
    server_version = "medtune"
    sys_version = ""
    timeout = 10
    """Seconds that a connection may stay silent."""

    def do_GET(self) -> None:
        """Give the page, its script and style, or the items."""
        name = self._name()
        if name == "items":
            self._json(HTTPStatus.OK, self.server.state())
        elif name in self.server.pages:
            kind, text = self.server.pages[name]
            self._send(HTTPStatus.OK, kind, text)
        elif name is not None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """Take a name or a mark."""
        name = self._name()
        if name is None or not self._from_page():
            return
        if name not in ("marks", "reviewer"):
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        body = self._body()
        if body is None:
            return
        try:
            if name == "marks":
                self.server.mark(_Said.model_validate_json(body))
            else:
                self.server.name(_Name.model_validate_json(body).name)
        except ValidationError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"no mark: {error.errors()[0]['msg']}")
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except MedtuneError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        else:
            self._json(HTTPStatus.OK, {"done": self.server.done, "reviewer": self.server.reviewer})

    def _name(self) -> str | None:
        """Return what is asked for, behind the key; None where the request was refused."""
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "asked under another name than this machine's")
            return None
        _, key, *rest = (*self.path.partition("?")[0].split("/", 2), "")[:3]
        if not secrets.compare_digest(key.encode(), self.server.key.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "open the address that medtune printed")
            return None
        return rest[0]

    def _from_page(self) -> bool:
        """Tell whether a POST comes from the page itself; refuse it otherwise."""
        origin = self.headers.get("Origin")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "sent by another site")
        elif kind != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        else:
            return True
        return False

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,9}", length):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the request does not tell its length")
        elif int(length) > LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LARGEST_BODY} bytes")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self._refuse(HTTPStatus.BAD_REQUEST, "the request broke off")
        return None

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._json(status, {"error": why})

    def _json(self, status: HTTPStatus, content: object) -> None:
        self._send(status, "application/json", json.dumps(content, ensure_ascii=False))

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": self.server.policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the address holds the key."""


class _Name(Record):
    """Who marks."""

    name: str


def _policy(page: str) -> str:
    """Allow the page its own files, and the style that stands in it, by its hash."""
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None, "base.html holds the style"
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{digest}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _why(error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "taken by another process"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return "kept for the system"
    return "no port number from 0 to 65535" if isinstance(error, OverflowError) else str(error)
