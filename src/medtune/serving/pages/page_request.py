"""One request to a page: who makes it, what was typed, and whether it may be made."""

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
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.auth.session import SESSION_S, is_token, token
from medtune.serving.dependencies import LOCAL, Parts, Services, admit
from medtune.serving.pages.templating import render
from medtune.serving.schemas import ROLES, ApiKey, Role

SESSION = "medtune_session"
VISITOR = "medtune_visitor"
"""Cookie to which the forms of those are tied who are not signed in."""
FIELDS = 30
"""Most fields in a form."""
_VISITOR = re.compile(r"[A-Za-z0-9_-]{22}")
_SESSION = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass
class PageRequest:
    """One request to a page.

    Attributes:
        request: As it came.
        parts: The endpoint's.
        session: Key of whoever is signed in.
        cookie: By which they are; empty for nobody.
        visitor: Value of the visitor's cookie; drawn anew where there was none.
        form: What was typed; empty unless it is a POST.
        caller: Name of the key, or `LOCAL`; empty until admitted.
        fault: Why sessions could not be looked up; None where they could.
        late: Why one who asks is turned away, unless it is a crisis.
    """

    request: Request
    parts: Services
    session: ApiKey | None
    cookie: str
    visitor: str
    form: FormData
    caller: str = ""
    fault: StoreError | None = None
    late: Exception | None = None

    @property
    def token(self) -> str:
        """What this one's forms carry."""
        return token(self._tie, self.parts.secret)

    @property
    def _tie(self) -> str:
        return f"s{self.cookie}" if self.cookie else f"v{self.visitor}"

    @property
    def role(self) -> Role | None:
        """What this one may do, as far as is known; None for nothing."""
        if self.session:
            return self.session.role
        return "ask" if self.caller == LOCAL else None

    def may(self, role: Role) -> bool:
        """Tell whether a page that needs a role is worth a link."""
        return self.role is not None and ROLES.index(self.role) >= ROLES.index(role)

    async def admit(self, role: Role, cost: int = 1) -> None:
        """Let this one in.

        Raises:
            DeniedError: The request may not be made, or not now.
            StoreError: Keys cannot be looked up.
        """
        self.caller = self._admitted(role, cost)

    def _admitted(self, role: Role, cost: int) -> str:
        if self.fault is not None:
            raise self.fault
        if self.session is None:
            return admit(self.request, self.parts, None, role, cost)
        # Both ways of asking share one limit.
        key = self.session
        gate = replace(self.parts.gate, find=lambda _: key, open_on_loopback=False, _known={})
        return gate.admit(key.name, None, False, role, cost) or LOCAL

    async def admit_question(self, cost: int) -> DeniedError | StoreError | None:
        """Let this one ask; tell what turns them away unless it is a crisis that they write of.

        Raises:
            DeniedError: Nobody who may ask.
        """
        try:
            await self.admit("ask", cost)
        except DeniedError as error:
            if not error.known:
                raise
            return error
        except StoreError as error:
            return error
        return None

    async def read_form(self) -> None:
        """Read what was typed, once its sender may do what they want."""
        self.form = await _filled_in(self.request)

    def require_own_form(self) -> None:
        """Refuse what was not sent by a form of this endpoint's.

        Raises:
            HTTPException: 403, with a sentence.
        """
        if _is_foreign(self.request):
            raise HTTPException(403, "This was sent by another site, so nothing was done.")
        if not is_token(self.text("token"), self._tie, self.parts.secret):
            raise HTTPException(
                403, "This form is out of date, so nothing was done. Load the page again."
            )

    def text(self, name: str) -> str:
        """Find what was typed into a field."""
        return _typed(self.form.get(name, ""))

    def texts(self, name: str) -> list[str]:
        """Find what was typed into the fields of one name."""
        return [_typed(value) for value in self.form.getlist(name)]

    def page(self, template: str, status: int = 200, **values: object) -> Response:
        """Render a page."""
        text = render(template, visit=self, **values)
        # With no referrer at all, browsers send "null" for the origin of a form.
        response = HTMLResponse(text, status, headers={"Referrer-Policy": "same-origin"})
        return self._marked(response)

    def to(self, path: str) -> Response:
        """Send the browser to a page."""
        return self._marked(RedirectResponse(path, 303))

    def _marked(self, response: Response) -> Response:
        if self.request.cookies.get(VISITOR) != self.visitor:
            # Lax: it comes along with a link from elsewhere, so that forms in other tabs hold.
            response.set_cookie(
                VISITOR, self.visitor, httponly=True, samesite="lax", secure=self._secure
            )
        return response

    async def sign_in(self, secret: str, response: Response) -> None:
        """Begin a session of a key, and have the browser keep it; its former one ends."""
        await self.sign_out()
        response.set_cookie(
            SESSION,
            await asyncio.to_thread(self.parts.kept().begin_session, secret),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=self._secure,
        )

    async def sign_out(self) -> None:
        """End the session, wherever its cookie may be kept."""
        if self.cookie:
            await asyncio.to_thread(self.parts.kept().end_session, self.cookie)

    @property
    def _secure(self) -> bool:
        forwarded = self.request.headers.get("x-forwarded-proto", "")
        return "https" in (self.request.scope["scheme"], forwarded.partition(",")[0].strip())


async def visited(request: Request, parts: Services) -> PageRequest:
    """See who makes a request; nobody is let in yet."""
    cookie, session, fault = request.cookies.get(SESSION, ""), None, None
    if _SESSION.fullmatch(cookie):
        try:
            session = await parts.at_door(parts.signed_in, cookie)
        except StoreError as error:
            fault = error
    visitor = request.cookies.get(VISITOR, "")
    if not _VISITOR.fullmatch(visitor):
        visitor = secrets.token_urlsafe(16)
    cookie = cookie if session is not None or fault is not None else ""
    visit = PageRequest(request, parts, session, cookie, visitor, FormData(), fault=fault)
    request.state.visit = visit
    return visit


async def arriving(request: Request, parts: Parts) -> PageRequest:
    """See who makes a request, and whether a form of this endpoint's sent it."""
    visit = await visited(request, parts)
    if request.method == "POST":
        await visit.read_form()
        visit.require_own_form()
    return visit


async def asking(request: Request, parts: Parts) -> PageRequest:
    """See who asks, and let them in; the form is looked at later: a crisis in any gets its card."""
    visit = await visited(request, parts)
    visit.late = await visit.admit_question(cost=0)
    await visit.read_form()
    return visit


Asking = Annotated[PageRequest, Depends(asking)]
Arriving = Annotated[PageRequest, Depends(arriving)]


def for_role(role: Role) -> Callable[[Request, Parts], Awaitable[PageRequest]]:
    """Make the check that lets in callers of a role, before it reads what they send."""

    async def check(request: Request, parts: Parts) -> PageRequest:
        visit = await visited(request, parts)
        if request.method != "POST":
            await visit.admit(role)
            return visit
        if _is_foreign(request):  # it costs nobody anything
            visit.require_own_form()
        await visit.admit(role)
        await visit.read_form()
        visit.require_own_form()
        return visit

    return check


AskVisit = Annotated[PageRequest, Depends(for_role("ask"))]
ReviewVisit = Annotated[PageRequest, Depends(for_role("review"))]


async def _filled_in(request: Request) -> FormData:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Only what a form of these pages sends can be read.")
    try:
        return await request.form(max_fields=FIELDS)
    except ClientDisconnect as error:
        raise HTTPException(400, "The form broke off on its way.") from error


def _typed(value: object) -> str:
    """Read a field: browsers end lines with two characters, and databases hold no NUL."""
    return str(value).replace("\r\n", "\n").replace("\0", "").strip()


def _is_foreign(request: Request) -> bool:
    """Tell whether another site sent this, as far as the browser says."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")
