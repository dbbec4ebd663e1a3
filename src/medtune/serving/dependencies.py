"""What the routes share."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeVar

from fastapi import Depends, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import ClientDisconnect

from medtune.core.errors import MedtuneError, StoreError
from medtune.serving.api.invalid_requests import inquiries, written
from medtune.serving.auth.authorize import Authorizer, DeniedError, is_forwarded
from medtune.serving.inference.engine import Engine
from medtune.serving.metrics import Metrics
from medtune.serving.middleware import log
from medtune.serving.schemas import RESERVED, ApiKey, Role
from medtune.serving.storage.store import Store

LOCAL = RESERVED[0]
"""Name of a caller on the loopback interface in reviews and in the audit trail."""
LOCAL_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
"""How this machine calls itself in a Host header."""
READY_S = 2.0
"""For how long the answer of a readiness probe holds."""
MOST_BRACKETS = 10_000
"""In a body: Python takes long over many small lists."""
AT_DOOR = 4
"""Threads that look up who comes; what waits for the store has others."""
Probe = Callable[[], object]
P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Services:
    """One endpoint's parts.

    Attributes:
        engine: Answers.
        store: Keeps; None where nothing is kept.
        gate: Admits callers.
        metrics: Counts.
        secret: Signs sessions and hashes texts.
        probes: By name; they raise a MedtuneError where questions cannot be answered.
        since: When it began.
        ready_s: For how long the answer of the probes holds.
    """

    engine: Engine
    store: Store | None
    gate: Authorizer
    metrics: Metrics
    secret: bytes
    probes: dict[str, Probe] = field(default_factory=dict)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    ready_s: float = READY_S
    _probed: tuple[float, list[str]] | None = None
    _probing: asyncio.Task[None] | None = None
    _door: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(AT_DOOR, thread_name_prefix="door")
    )

    async def at_door(self, act: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
        """Do something in a thread that nobody keeps who waits for a store that is locked."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._door, partial(act, *given, **named))

    async def faults(self) -> list[str]:
        """Name what keeps questions from being answered; hosts and causes are for the log.

        Whoever asks again soon, or while another asks, costs nothing, no thread either: anybody
        may ask.
        """
        old = self._probed is None or time.monotonic() - self._probed[0] >= self.ready_s
        if self._probing is None and old:
            self._probing = asyncio.create_task(self._look())
        if self._probing is not None:
            await asyncio.shield(self._probing)
        assert self._probed is not None, "somebody looked"
        return self._probed[1]

    async def _look(self) -> None:
        try:
            found = await self.at_door(self._probe)
            self._probed = (time.monotonic(), found)
        finally:
            self._probing = None

    def _probe(self) -> list[str]:
        found = []
        for name, probe in self.probes.items():
            try:
                probe()
            except MedtuneError as error:
                log.warning("not ready", what_fails=name, fault=error.found)
                found.append(f"the {name} cannot be used")
        return found

    def signed_in(self, cookie: str) -> ApiKey | None:
        """Find the key whose session a browser has; None without one that holds.

        Raises:
            StoreError: Sessions cannot be looked up.
        """
        found = self.store.session(cookie) if self.store is not None else None
        if found is None:
            return None
        digest, key = found
        start = self.gate.start
        return start.key if start is not None and start.is_digest(digest) else key

    def kept(self) -> Store:
        """Find the store.

        Raises:
            StoreError: Nothing is kept here.
        """
        if self.store is None:
            raise StoreError(
                "this endpoint keeps nothing", fix="start it with --database, or with --data"
            )
        return self.store


bearer = HTTPBearer(auto_error=False, description="A key: `medtune keys add NAME`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def services(request: Request) -> Services:
    """Find the parts of the endpoint that a request came to."""
    found: Services = request.app.state.services
    return found


Parts = Annotated[Services, Depends(services)]


def admit(request: Request, parts: Services, secret: str | None, role: Role, cost: int = 1) -> str:
    """Let a caller in.

    Returns:
        Name of the key, or `LOCAL`.

    Raises:
        DeniedError: The request may not be made, or not now.
        StoreError: Keys cannot be looked up.
    """
    host = request.client.host if request.client else None
    # A name that leads to this machine by a foreign site's doing (DNS rebinding) is none of ours.
    named = LOCAL_HOST.fullmatch(request.headers.get("host", "")) is not None
    forwarded = is_forwarded(request.headers) or not named
    return parts.gate.admit(secret, host, forwarded, role, cost) or LOCAL


class Admission(NamedTuple):
    """Who asks a question, and why it would be turned away unless it is a crisis."""

    caller: str | None
    late: DeniedError | StoreError | None = None


@dataclass(frozen=True)
class RequireRole:
    """What a route asks of its callers; as a dependency it gives their name.

    Attributes:
        role: Whom it lets in.
        cost: Questions that a request counts for before it is read.
    """

    role: Role
    cost: int = 1

    def __call__(self, request: Request, credentials: Credentials) -> Any:
        """Name the caller, whom `AdmittedRoute` has let in."""
        del credentials  # so that the schema says that a key is taken
        found: Admission = request.state.admission
        assert found.caller is not None, "whoever is turned away gets no further"
        return found.caller


@dataclass(frozen=True)
class RequireAsker(RequireRole):
    """What a route asks of those who ask questions: a crisis gets its card over any limit."""

    def __call__(self, request: Request, credentials: Credentials) -> Any:
        """Give the `Admission` that `AdmittedRoute` found."""
        del credentials
        return request.state.admission


class AdmittedRoute(APIRoute):
    """A route that lets its caller in before it reads what they send."""

    @property
    def needs(self) -> RequireRole | None:
        """What it asks of its callers; None is a route for everybody."""
        calls = (dependency.call for dependency in self.dependant.dependencies)
        return next((call for call in calls if isinstance(call, RequireRole)), None)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make the function that answers requests."""
        handle, needs = super().get_route_handler(), self.needs
        if needs is None:
            return handle

        async def admitted(request: Request) -> Response:
            found = await admission(request, needs.role, needs.cost)
            if found.late is not None and not isinstance(needs, RequireAsker):
                raise found.late
            request.state.admission = found
            body = await _read(request)
            if body.count(b"[") + body.count(b"{") > MOST_BRACKETS:
                raise HTTPException(422, f"more than {MOST_BRACKETS:,} brackets")
            try:
                return await handle(request)
            except RequestValidationError as error:
                if not isinstance(needs, RequireAsker) or not isinstance(error.body, dict):
                    raise
                return await _helped(request, found.caller, error)

        return admitted


async def _helped(request: Request, caller: str | None, error: RequestValidationError) -> Response:
    """Give the card to a crisis in a request that is not as the schema says.

    Raises:
        RequestValidationError: There is none in it.
    """
    parts, path = services(request), request.scope["path"]
    asked = await parts.at_door(inquiries, path, error.body)
    return written(path, error.body, asked, await parts.engine.answer(asked, caller, error))


async def _read(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise HTTPException(400, "the body broke off on its way") from error


async def admission(request: Request, role: Role, cost: int) -> Admission:
    """Let the caller of a route in, and count some questions.

    A limit, or a store that fails, is told later by whoever answers questions: a crisis in them
    gets its card.

    Raises:
        DeniedError: Without a key that is known (401, 429), or with one of another role (403).
    """
    credentials = await bearer(request)
    secret = credentials.credentials if credentials else None
    parts = services(request)
    try:
        if parts.gate.knows(secret):
            return Admission(admit(request, parts, secret, role, cost))
        return Admission(await parts.at_door(admit, request, parts, secret, role, cost))
    except DeniedError as error:
        if not error.known:
            raise
        return Admission(None, error)
    except StoreError as error:
        return Admission(None, error)


Questioner = Annotated[Admission, Depends(RequireAsker("ask"))]
BatchQuestioner = Annotated[Admission, Depends(RequireAsker("ask", cost=0))]
"""Pays for its questions once it is known how many there are."""
Asker = Annotated[str, Depends(RequireRole("ask"))]
Reviewer = Annotated[str, Depends(RequireRole("review"))]
Admin = Annotated[str, Depends(RequireRole("admin"))]
