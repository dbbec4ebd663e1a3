"""Middleware for unhandled errors: logged by location, never by message."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from typing import TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medtune.serving.middleware import log

_BODY = b'{"title":"a fault of medtune\'s","status":500,"detail":"it is in the log"}'


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
                (b"content-length", str(len(_BODY)).encode()),
            ]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})


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
