"""What nobody foresaw: answered with a problem, and logged by its place, never by its words."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from typing import TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medtune.serving.middleware import log

_BODY = b'{"title":"a fault of medtune\'s","status":500,"detail":"it is in the log"}'


class Unhandled:
    """Catches what a route raises; an error's message may repeat what was asked."""

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
            log.error("fault", kind=type(error).__name__, at=places(error))
            if began:  # the connection ends, so that half an answer is not taken for one
                raise RuntimeError("an answer broke off") from None
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", str(len(_BODY)).encode()),
            ]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})


def places(error: BaseException) -> list[str]:
    """List where an error came from, the innermost last: files, lines and functions."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


class SafeStream:
    """A stream to log to: where it cannot be written, a line is lost and no request fails."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream  # None is standard error, whatever that is at the time

    def write(self, text: str) -> int:
        """Write a text, if that is possible."""
        try:
            return (self._stream or sys.stderr).write(text)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        """Bring what was written to the disk, if that is possible."""
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()
