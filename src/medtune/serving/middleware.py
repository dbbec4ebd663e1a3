"""Middleware of every request: body limit, security headers, request log, unhandled errors."""

from __future__ import annotations

import json
import sys
import time
import traceback
import uuid
from contextlib import suppress
from typing import Any, TextIO

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medtune.serving.api import openai_compat

MAX_BODY_BYTES = 512 * 1024
"""Largest body: 64 questions of usual size, or a few of the largest."""
MAX_FORM_BYTES = 192 * 1024
"""Largest form: it is parsed in the event loop."""
MAX_SIGN_IN_BYTES = 16 * 1024
"""Largest sign-in form, which anybody may send; no key is longer."""
SIGN_IN = ("/login", "/logout")
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
FORM_CONTENT_TYPE = b"application/x-www-form-urlencoded"
UNHANDLED_BODY = b'{"title":"a fault of medtune\'s","status":500,"detail":"it is in the log"}'
log = structlog.get_logger("medtune.serving")


class BodyLimit:
    """Rejects bodies that are too large, declared or not."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").lstrip().lower()
        most = (
            min(self._max_bytes, MAX_FORM_BYTES)
            if kind.startswith(FORM_CONTENT_TYPE)
            else self._max_bytes
        )
        most = min(most, MAX_SIGN_IN_BYTES) if scope["path"] in SIGN_IN else most
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and int(said[:20]) > most:
            await self._send_too_large(scope, send, most)
            return
        got, over, began = 0, False, False

        async def counted() -> Message:
            nonlocal got, over
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                over = True
                return {"type": "http.disconnect"}
            return message

        async def watched(message: Message) -> None:
            nonlocal began
            if over:  # the response to a truncated body is not sent
                return
            began = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        finally:
            if over and not began:
                await self._send_too_large(scope, send, most)

    async def _send_too_large(self, scope: Scope, send: Send, most: int) -> None:
        detail, kind = f"at most {most} bytes", b"application/problem+json"
        said: dict[str, Any] = {"title": "too large", "status": 413, "detail": detail}
        if scope["path"] in openai_compat.OPENAI_PATHS:
            said, kind = openai_compat.openai_error(413, detail), b"application/json"
        body = json.dumps(said).encode()
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class SecurityHeaders:
    """Adds headers that forbid foreign resources, framing and caching."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in SECURITY_HEADERS.items()
                      if k.encode() not in present),
                ]  # fmt: skip
            await send(message)

        await self._app(scope, receive, with_headers)


class RequestLog:
    """Logs one line per request: route, status, time and an id, never a text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number, start, status = uuid.uuid4().hex[:12], time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers: list[Any] = [*message["headers"], (b"x-request-id", number.encode())]
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = scope.get("route")
            log.info(
                "request",
                id=number,
                method=scope["method"],
                route=getattr(route, "path", "-"),  # the template: a path may hold private text
                status=status,
                ms=round(1000 * (time.perf_counter() - start), 1),
            )


class Unhandled:
    """Catches unhandled exceptions, whose messages may repeat the question."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        began = False

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            log.error("fault", kind=type(error).__name__, at=error_frames(error))
            if began:  # abort, so that a partial reply is not taken for a whole one
                raise RuntimeError("the reply was aborted") from None
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", str(len(UNHANDLED_BODY)).encode()),
            ]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": UNHANDLED_BODY})


def error_frames(error: BaseException) -> list[str]:
    """Return the frames of an exception, innermost last: file, line and function."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


class SafeStream:
    """A log stream that drops lines it cannot write instead of failing a request."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream  # None is the current standard error

    def write(self, text: str) -> int:
        """Write a text if possible."""
        try:
            return (self._stream or sys.stderr).write(text)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        """Flush the stream if possible."""
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()
