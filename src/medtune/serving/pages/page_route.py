"""Routes whose errors are shown as pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from medtune.serving.auth.authorize import DeniedError
from medtune.serving.dependencies import get_services
from medtune.serving.errors import ENDPOINT_ERRORS
from medtune.serving.pages.page_request import SESSION_COOKIE, PageRequest, load_page_request

RETURN_PATHS = re.compile(r"/(?:answer/[0-9a-f]{32}|review(?:/[0-9a-f]{32})?|dashboard)?")
"""Paths that a sign-in may return to."""


class PageRoute(APIRoute):
    """A route whose errors are shown as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the request handler."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                at_path = any("path" in fault["loc"] for fault in error.errors())
                missing = HTTPException(404 if at_path else 422, "This page does not exist.")
                return await _error_page(request, missing)
            except ENDPOINT_ERRORS as error:
                return await _error_page(request, error)

        return answered


async def _error_page(request: Request, error: Exception) -> Response:
    page: PageRequest | None = getattr(request.state, "page", None)
    page = page or await load_page_request(request, get_services(request))
    signing_in = isinstance(error, DeniedError) and error.status == 401
    if signing_in and request.method == "GET":
        path = request.scope["path"]
        response = page.redirect(f"/login?to={path}" if RETURN_PATHS.fullmatch(path) else "/login")
    else:
        response = page.page_response("problem.html", error)
    if signing_in:
        response.delete_cookie(SESSION_COOKIE)  # its key was revoked
    return response
