"""A request to a page: caller, session, form and permissions."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect

from medtune.core.errors import StoreError
from medtune.serving.auth.sessions import (
    SESSION_LIFETIME_S,
    create_form_token,
    verify_form_token,
)
from medtune.serving.dependencies import (
    Services,
    ServicesDep,
    admit,
    admit_or_postpone,
)
from medtune.serving.errors import report_error
from medtune.serving.pages.templating import render_template
from medtune.serving.schemas import LOCAL_CALLER, ROLES, ApiKey, Role

SESSION_COOKIE = "medtune_session"
VISITOR_COOKIE = "medtune_visitor"
"""Cookie that the forms of visitors without a session are tied to."""
MAX_FORM_FIELDS = 30
"""Most fields of a form."""
_VISITOR = re.compile(r"[A-Za-z0-9_-]{22}")
_SESSION = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass
class PageRequest:
    """One request to a page.

    Attributes:
        request: The HTTP request.
        services: The endpoint's services.
        session: Key of the signed-in user; None without a session.
        cookie: Session cookie; empty without a session.
        visitor: Visitor cookie; a new random value if there was none.
        form: Form fields; empty unless it is a POST.
        caller: Name of the key, or `LOCAL_CALLER`; empty until admitted.
        fault: Why sessions could not be looked up; None if they could.
        rejection: Why the caller is rejected unless there is a crisis.
    """

    request: Request
    services: Services
    session: ApiKey | None
    cookie: str
    visitor: str
    form: FormData
    caller: str = ""
    fault: StoreError | None = None
    rejection: Exception | None = None

    @property
    def token(self) -> str:
        """The form token of this session or visitor."""
        return create_form_token(self._form_owner, self.services.secret)

    @property
    def _form_owner(self) -> str:
        return f"s{self.cookie}" if self.cookie else f"v{self.visitor}"

    @property
    def role(self) -> Role | None:
        """The caller's role, as far as it is known; None for none."""
        if self.session:
            return self.session.role
        return "ask" if self.caller == LOCAL_CALLER else None

    def has_role(self, role: Role) -> bool:
        """Return whether the caller has a role, so that a link to its page is shown."""
        return self.role is not None and ROLES.index(self.role) >= ROLES.index(role)

    async def admit(self, role: Role, cost: int = 1) -> str:
        """Authenticate the caller, charge a request against its rate limit, and return its name.

        Raises:
            DeniedError: The request is not allowed, or not now.
            StoreError: Keys cannot be looked up.
        """
        if self.fault is not None:
            raise self.fault
        if self.session is None:
            self.caller = admit(self.request, self.services, None, role, cost)
        else:  # pages and API share one rate limit per key
            self.caller = self.services.authorizer.admit_key(self.session, role, cost)
        return self.caller

    async def read_form(self) -> None:
        """Read the form, once the caller is authorized."""
        self.form = await _read_form_data(self.request)

    def verify_form_origin(self) -> None:
        """Reject a form that this endpoint did not render.

        Raises:
            HTTPException: 403, with a sentence.
        """
        if _is_cross_site(self.request):
            raise HTTPException(403, "This was sent by another site, so nothing was done.")
        if not verify_form_token(self.form_text("token"), self._form_owner, self.services.secret):
            raise HTTPException(
                403, "This form is out of date, so nothing was done. Load the page again."
            )

    def form_text(self, name: str) -> str:
        """Return a field of the form."""
        return _clean_field(self.form.get(name, ""))

    def form_texts(self, name: str) -> list[str]:
        """Return all fields of one name."""
        return [_clean_field(value) for value in self.form.getlist(name)]

    def page_response(
        self,
        template: str,
        error: Exception | None = None,
        sentence: str | None = None,
        **values: object,
    ) -> Response:
        """Render a page as a response.

        Args:
            template: Name of the template.
            error: What went wrong, which the page says and which is counted; None if nothing did.
            sentence: What the page says about the error, if not the usual sentence.
            values: Further values of the template.
        """
        reply = None if error is None else report_error(error, self.services.metrics)
        if reply is not None and sentence is not None:
            reply = replace(reply, sentence=sentence)
        text = render_template(template, page=self, error=reply, **values)
        # With no referrer at all, browsers send "null" for the origin of a form.
        headers = {"Referrer-Policy": "same-origin", **(reply.headers if reply else {})}
        response = HTMLResponse(text, reply.status if reply else 200, headers=headers)
        return self._with_visitor_cookie(response)

    def redirect(self, path: str) -> Response:
        """Redirect to a page."""
        return self._with_visitor_cookie(RedirectResponse(path, 303))

    def _with_visitor_cookie(self, response: Response) -> Response:
        if self.request.cookies.get(VISITOR_COOKIE) != self.visitor:
            # Lax: sent along with links from other sites, so that forms in other tabs stay valid.
            response.set_cookie(
                VISITOR_COOKIE, self.visitor, httponly=True, samesite="lax", secure=self._is_https
            )
        return response

    async def sign_in(self, secret: str, response: Response) -> None:
        """Start a session and set its cookie; a former session ends."""
        await self.sign_out()
        response.set_cookie(
            SESSION_COOKIE,
            await asyncio.to_thread(self.services.require_store().sessions.begin, secret),
            max_age=SESSION_LIFETIME_S,
            httponly=True,
            samesite="strict",
            secure=self._is_https,
        )

    async def sign_out(self) -> None:
        """End the session, wherever its cookie is stored."""
        if self.cookie:
            await asyncio.to_thread(self.services.require_store().sessions.end, self.cookie)

    @property
    def _is_https(self) -> bool:
        forwarded = self.request.headers.get("x-forwarded-proto", "")
        return "https" in (self.request.scope["scheme"], forwarded.partition(",")[0].strip())


async def load_page_request(request: Request, services: Services) -> PageRequest:
    """Build the page request, with its session but without admission."""
    cookie, session, fault = request.cookies.get(SESSION_COOKIE, ""), None, None
    if _SESSION.fullmatch(cookie):
        try:
            session = await services.run_in_admission_thread(services.find_session_key, cookie)
        except StoreError as error:
            fault = error
    visitor = request.cookies.get(VISITOR_COOKIE, "")
    if not _VISITOR.fullmatch(visitor):
        visitor = secrets.token_urlsafe(16)
    cookie = cookie if session is not None or fault is not None else ""
    page = PageRequest(request, services, session, cookie, visitor, FormData(), fault=fault)
    request.state.page = page
    return page


async def load_verified_request(request: Request, services: ServicesDep) -> PageRequest:
    """Build the page request; of a POST, read the form and verify its origin."""
    page = await load_page_request(request, services)
    if request.method == "POST":
        await page.read_form()
        page.verify_form_origin()
    return page


async def load_question_request(request: Request, services: ServicesDep) -> PageRequest:
    """Build the page request of a question; its form is verified after the crisis guard."""
    page = await load_page_request(request, services)
    page.rejection = (await admit_or_postpone(page.admit("ask", cost=0))).rejection
    await page.read_form()
    return page


QuestionRequest = Annotated[PageRequest, Depends(load_question_request)]
VerifiedRequest = Annotated[PageRequest, Depends(load_verified_request)]


def require_page_role(role: Role) -> Callable[[Request, ServicesDep], Awaitable[PageRequest]]:
    """Return a dependency that requires a role before it reads the form."""

    async def check(request: Request, services: ServicesDep) -> PageRequest:
        page = await load_page_request(request, services)
        if request.method != "POST":
            await page.admit(role)
            return page
        if _is_cross_site(request):  # rejected without a charge
            page.verify_form_origin()
        await page.admit(role)
        await page.read_form()
        page.verify_form_origin()
        return page

    return check


AskPageRequest = Annotated[PageRequest, Depends(require_page_role("ask"))]
ReviewPageRequest = Annotated[PageRequest, Depends(require_page_role("review"))]


async def _read_form_data(request: Request) -> FormData:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Only forms of these pages are accepted.")
    try:
        return await request.form(max_fields=MAX_FORM_FIELDS)
    except ClientDisconnect as error:
        raise HTTPException(400, "The connection closed before the whole form arrived.") from error


def _clean_field(value: object) -> str:
    """Normalize line ends of a field, and remove NUL characters."""
    return str(value).replace("\r\n", "\n").replace("\0", "").strip()


def _is_cross_site(request: Request) -> bool:
    """Return whether the browser says that another site sent the request."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")
