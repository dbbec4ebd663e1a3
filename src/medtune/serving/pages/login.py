"""Signing in with a key, and out."""

from __future__ import annotations

from fastapi import APIRouter, Response

from medtune.serving.auth.authorize import DeniedError
from medtune.serving.dependencies import Parts, admit
from medtune.serving.pages.errors import RETURNS, PageError, PageRoute, trouble
from medtune.serving.pages.page_request import SESSION, Arriving

LONGEST = 200
"""Characters; a key is shorter."""
router = APIRouter(route_class=PageRoute)


@router.get("/login")
async def ask_for_key(visit: Arriving, to: str = "/") -> Response:
    """Show where to put a key."""
    return visit.page("login.html", to=_known(to), trouble=None)


@router.post("/login")
async def sign_in(visit: Arriving, parts: Parts) -> Response:
    """Take a key, and begin a session."""
    key, to = visit.text("key"), _known(visit.text("to"))
    try:
        if not key or len(key) > LONGEST:
            raise DeniedError(401, "no key")
        await parts.at_door(admit, visit.request, parts, key, "ask")
    except DeniedError as error:
        told = trouble(error, parts)
        if error.status == 401:
            told = PageError(401, "This key is not known, or it was revoked.")
        response = visit.page("login.html", told.status, to=to, trouble=told)
        response.headers.update(told.headers)
        return response
    response = visit.to(to)
    await visit.sign_in(key, response)
    return response


@router.post("/logout")
async def sign_out(visit: Arriving) -> Response:
    """End the session, in this browser and for whoever else may have its cookie."""
    await visit.sign_out()
    response = visit.to("/login")
    response.delete_cookie(SESSION)
    return response


def _known(path: str) -> str:
    """Keep to these pages: an address in a link may be anybody's."""
    return path if RETURNS.fullmatch(path) else "/"
