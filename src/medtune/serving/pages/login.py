"""Pages to sign in with a key and to sign out."""

from __future__ import annotations

from fastapi import APIRouter, Response

from medtune.serving.auth.authorize import MAX_KEY_LENGTH, DeniedError
from medtune.serving.dependencies import ServicesDep, admit
from medtune.serving.pages.errors import RETURN_PATHS, PageError, PageRoute, to_page_error
from medtune.serving.pages.page_request import SESSION_COOKIE, VerifiedRequest

router = APIRouter(route_class=PageRoute)


@router.get("/login")
async def show_login(visit: VerifiedRequest, to: str = "/") -> Response:
    """Show the sign-in form."""
    return visit.page_response("login.html", to=_safe_return_path(to), trouble=None)


@router.post("/login")
async def sign_in(visit: VerifiedRequest, parts: ServicesDep) -> Response:
    """Check a key, and start a session."""
    key, to = visit.form_text("key"), _safe_return_path(visit.form_text("to"))
    try:
        if not key or len(key) > MAX_KEY_LENGTH:
            raise DeniedError(401, "no key")
        await parts.at_door(admit, visit.request, parts, key, "ask")
    except DeniedError as error:
        told = to_page_error(error, parts)
        if error.status == 401:
            told = PageError(401, "This key is not known, or it was revoked.")
        response = visit.page_response("login.html", told.status, to=to, trouble=told)
        response.headers.update(told.headers)
        return response
    response = visit.redirect(to)
    await visit.sign_in(key, response)
    return response


@router.post("/logout")
async def sign_out(visit: VerifiedRequest) -> Response:
    """End the session, wherever its cookie is stored."""
    await visit.sign_out()
    response = visit.redirect("/login")
    response.delete_cookie(SESSION_COOKIE)
    return response


def _safe_return_path(path: str) -> str:
    """Return the path if a sign-in may return to it, otherwise "/"."""
    return path if RETURN_PATHS.fullmatch(path) else "/"
