"""Error pages, and the routes that show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from math import ceil
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from medtune.core.errors import ModelError, ReviewError, StoreError
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.dependencies import Services
from medtune.serving.inference.request_batcher import BusyError
from medtune.serving.pages.page_request import SESSION_COOKIE, PageRequest, load_page_request

UNAVAILABLE_RETRY_S = 5.0
"""Seconds after which to retry when the model or the database is unavailable."""
RETURN_PATHS = re.compile(r"/(?:answer/[0-9a-f]{32}|review(?:/[0-9a-f]{32})?|dashboard)?")
"""Paths that a sign-in may return to."""


class InvalidError(Exception):
    """An invalid form; the message is a sentence."""


PAGE_ERRORS = (
    BusyError, DeniedError, HTTPException, InvalidError, ModelError, RequestValidationError,
    StoreError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageError:
    """An error as a page shows it.

    Attributes:
        status: HTTP status.
        sentence: Message for the user.
        counted: Name in the metric of rejected requests; None if it is no rejection.
        again_s: Seconds after which to try again.
    """

    status: int
    sentence: str
    counted: str | None = None
    again_s: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of the response."""
        found = {} if self.again_s is None else {"Retry-After": str(ceil(self.again_s))}
        return {**found, "WWW-Authenticate": "Bearer"} if self.status == 401 else found


def to_page_error(error: Exception, parts: Services) -> PageError:
    """Convert an error to a sentence for the page, and count it."""
    found = _describe_error(error, parts)
    if found.counted is not None:
        parts.metrics.count_rejection(found.counted)
    return found


def _describe_error(error: Exception, parts: Services) -> PageError:
    match error:
        case InvalidError():
            return PageError(422, str(error))
        case RequestValidationError():
            at_path = any("path" in fault["loc"] for fault in error.errors())
            return PageError(404 if at_path else 422, "This page does not exist.")
        case BusyError():
            again = error.retry_after_s
            busy = f"Many questions are waiting. Please ask again in {_format_wait(again)}."
            return PageError(429, busy, "busy", again)
        case DeniedError():
            return _describe_denial(error)
        case ReviewError():
            status = 404 if error.found.startswith("no ") else 409
            return PageError(status, to_sentence(error.found))
        case StoreError() if parts.store is None:
            return PageError(503, "This endpoint has no database, so there is nothing to show.")
        case StoreError():
            # The error's own message names the database, which is for the operator only.
            text = "The database is unavailable. Please try again in a moment."
            return PageError(503, text, "unavailable", UNAVAILABLE_RETRY_S)
        case ModelError():
            text = "The model is unavailable. Please try again in a moment."
            return PageError(503, text, "unavailable", UNAVAILABLE_RETRY_S)
        case HTTPException():
            return PageError(error.status_code, str(error.detail))
    raise error


def _describe_denial(error: DeniedError) -> PageError:
    if error.status == 401:
        return PageError(401, "Please sign in with a key.", "key")
    if error.status == 403:
        return PageError(403, f"Your key is not sufficient: {error.message}.", "key")
    again = error.retry_after_s or 1.0
    text = f"That is {error.message}. Please try again in {_format_wait(again)}."
    return PageError(429, text, "rate", again)


def _format_wait(seconds: float) -> str:
    number = max(1, ceil(seconds))
    return "1 second" if number == 1 else f"{number} seconds"


def to_sentence(text: str) -> str:
    """Make a sentence of an error message."""
    return f"{text[:1].upper()}{text[1:]}."


class PageRoute(APIRoute):
    """A route whose errors are shown as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the request handler."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except PAGE_ERRORS as error:
                return await _error_page(request, error)

        return answered


async def _error_page(request: Request, error: Exception) -> Response:
    parts: Services = request.app.state.services
    page: PageRequest | None = getattr(request.state, "page", None)
    page = page or await load_page_request(request, parts)
    signing_in = isinstance(error, DeniedError) and error.status == 401
    if signing_in and request.method == "GET":
        path = request.scope["path"]
        response = page.redirect(f"/login?to={path}" if RETURN_PATHS.fullmatch(path) else "/login")
    else:
        found = to_page_error(error, parts)
        response = page.page_response("problem.html", found.status, trouble=found)
        response.headers.update(found.headers)
    if signing_in:
        response.delete_cookie(SESSION_COOKIE)  # its key was revoked
    return response
