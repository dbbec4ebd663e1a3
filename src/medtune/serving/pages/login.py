"""Pages to sign in with a key and to sign out."""

from __future__ import annotations

from fastapi import APIRouter, Response

from medtune.serving.auth.authorize import MAX_KEY_LENGTH, DeniedError
from medtune.serving.dependencies import ServicesDep, admit
from medtune.serving.pages.page_request import SESSION_COOKIE, VerifiedRequest
from medtune.serving.pages.page_route import RETURN_PATHS, PageRoute

router = APIRouter(route_class=PageRoute)


@router.get("/login")
async def show_login(page: VerifiedRequest, to: str = "/") -> Response:
    """Show the sign-in form."""
    return page.page_response("login.html", to=_safe_return_path(to))


@router.post("/login")
async def sign_in(page: VerifiedRequest, services: ServicesDep) -> Response:
    """Check a key, and start a session."""
    key, to = page.form_text("key"), _safe_return_path(page.form_text("to"))
    try:
        if not key or len(key) > MAX_KEY_LENGTH:
            raise DeniedError(401, "no key")
        await services.run_in_admission_thread(admit, page.request, services, key, "ask")
    except DeniedError as error:
        unknown = "This key is not known, or it was revoked." if error.status == 401 else None
        return page.page_response("login.html", error, unknown, to=to)
    response = page.redirect(to)
    await page.sign_in(key, response)
    return response


@router.post("/logout")
async def sign_out(page: VerifiedRequest) -> Response:
    """End the session, wherever its cookie is stored."""
    await page.sign_out()
    response = page.redirect("/login")
    response.delete_cookie(SESSION_COOKIE)
    return response


def _safe_return_path(path: str) -> str:
    """Return the path if a sign-in may return to it, otherwise "/"."""
    return path if RETURN_PATHS.fullmatch(path) else "/"
