"""What a page says where something cannot be done."""

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
from medtune.serving.pages.page_request import SESSION, PageRequest, visited

UNAVAILABLE_S = 5.0
"""When to come again where model or database cannot be used."""
RETURNS = re.compile(r"/(?:answer/[0-9a-f]{32}|review(?:/[0-9a-f]{32})?|dashboard)?")
"""Pages that a sign-in leads back to."""


class InvalidError(Exception):
    """A form that was not filled in so that something can be done; the message is a sentence."""


ERRORS = (
    BusyError, DeniedError, HTTPException, InvalidError, ModelError, RequestValidationError,
    StoreError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageError:
    """Why something was not done.

    Attributes:
        status: Of HTTP.
        sentence: For the person before the page.
        counted: Under which name it is counted; None where it is no refusal.
        again_s: When to come again.
    """

    status: int
    sentence: str
    counted: str | None = None
    again_s: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What programs read."""
        found = {} if self.again_s is None else {"Retry-After": str(ceil(self.again_s))}
        return {**found, "WWW-Authenticate": "Bearer"} if self.status == 401 else found


def trouble(error: Exception, parts: Services) -> PageError:
    """Put an error into a sentence, and count it."""
    found = _found(error, parts)
    if found.counted is not None:
        parts.metrics.turned_away(found.counted)
    return found


def _found(error: Exception, parts: Services) -> PageError:
    match error:
        case InvalidError():
            return PageError(422, str(error))
        case RequestValidationError():
            at_path = any("path" in fault["loc"] for fault in error.errors())
            return PageError(404 if at_path else 422, "There is nothing at this address.")
        case BusyError():
            again = error.retry_after_s
            busy = f"Many questions are waiting. Please ask again in {_seconds(again)}."
            return PageError(429, busy, "busy", again)
        case DeniedError():
            return _denied(error)
        case ReviewError():
            status = 404 if error.found.startswith("no ") else 409
            return PageError(status, sentence(error.found))
        case StoreError() if parts.store is None:
            return PageError(503, "This endpoint keeps nothing, so there is nothing to see here.")
        case StoreError():
            # What the error says names the database: that is for whoever runs the endpoint.
            text = "Nothing can be kept or looked up now. Please try again in a moment."
            return PageError(503, text, "unavailable", UNAVAILABLE_S)
        case ModelError():
            text = "The model does not answer now. Please try again in a moment."
            return PageError(503, text, "unavailable", UNAVAILABLE_S)
        case HTTPException():
            return PageError(error.status_code, str(error.detail))
    raise error


def _denied(error: DeniedError) -> PageError:
    if error.status == 401:
        return PageError(401, "Please sign in with a key.", "key")
    if error.status == 403:
        return PageError(403, f"Your key does not open this: {error.message}.", "key")
    again = error.retry_after_s or 1.0
    text = f"That is {error.message}. Please try again in {_seconds(again)}."
    return PageError(429, text, "rate", again)


def _seconds(seconds: float) -> str:
    number = max(1, ceil(seconds))
    return "1 second" if number == 1 else f"{number} seconds"


def sentence(text: str) -> str:
    """Make a sentence of an error's words."""
    return f"{text[:1].upper()}{text[1:]}."


class PageRoute(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make the function that answers requests."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except ERRORS as error:
                return await _page(request, error)

        return answered


async def _page(request: Request, error: Exception) -> Response:
    parts: Services = request.app.state.services
    visit: PageRequest | None = getattr(request.state, "visit", None)
    visit = visit or await visited(request, parts)
    signing_in = isinstance(error, DeniedError) and error.status == 401
    if signing_in and request.method == "GET":
        path = request.scope["path"]
        response = visit.to(f"/login?to={path}" if RETURNS.fullmatch(path) else "/login")
    else:
        found = trouble(error, parts)
        response = visit.page("problem.html", found.status, trouble=found)
        response.headers.update(found.headers)
    if signing_in:
        response.delete_cookie(SESSION)  # of a key that was revoked
    return response
