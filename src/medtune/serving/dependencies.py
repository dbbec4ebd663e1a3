"""Services and FastAPI dependencies that the routes share."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
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
from medtune.serving.api.invalid_requests import build_response, extract_inquiries
from medtune.serving.auth.authorize import Authorizer, DeniedError, is_forwarded
from medtune.serving.errors import NoDatabaseError
from medtune.serving.inference.engine import Engine
from medtune.serving.metrics import Metrics
from medtune.serving.middleware import log
from medtune.serving.schemas import LOCAL_CALLER, ApiKey, Role
from medtune.serving.storage.store import Store

LOCAL_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
"""Names of this machine in a Host header."""
READINESS_CACHE_S = 2.0
"""Seconds for which a readiness result is cached."""
MAX_BRACKETS = 10_000
"""Most brackets in a body: Python is slow with many small lists."""
ADMISSION_THREADS = 4
"""Threads for admission and parsing; other calls that wait for the store do not use them."""
Probe = Callable[[], object]
P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Services:
    """The services of one endpoint.

    Attributes:
        engine: Answers questions.
        store: The database; None if nothing is stored.
        authorizer: Authenticates callers and limits their rate.
        metrics: Prometheus metrics.
        secret: Signs form tokens and hashes texts.
        probes: Readiness probes by name; they raise a MedtuneError on failure.
        since: Start time.
        ready_s: Seconds for which the probes' result is cached.
    """

    engine: Engine
    store: Store | None
    authorizer: Authorizer
    metrics: Metrics
    secret: bytes
    probes: dict[str, Probe] = field(default_factory=dict)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    ready_s: float = READINESS_CACHE_S
    _probed: tuple[float, list[str]] | None = None
    _probing: asyncio.Task[None] | None = None
    _admission_threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(
            ADMISSION_THREADS, thread_name_prefix="admission"
        )
    )

    async def run_in_admission_thread(
        self, act: Callable[P, R], *given: P.args, **named: P.kwargs
    ) -> R:
        """Call a function in an admission thread, which waits for a locked store do not occupy."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._admission_threads, partial(act, *given, **named))

    async def readiness_faults(self) -> list[str]:
        """Return why questions cannot be answered; hosts and causes are only logged.

        The result is cached for `ready_s`, and concurrent calls share one run of the probes, since
        anybody may call this.
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
            found = await self.run_in_admission_thread(self._run_probes)
            self._probed = (time.monotonic(), found)
        finally:
            self._probing = None

    def _run_probes(self) -> list[str]:
        found = []
        for name, probe in self.probes.items():
            try:
                probe()
            except MedtuneError as error:
                log.warning("not ready", what_fails=name, fault=error.found)
                found.append(f"the {name} is unavailable")
        return found

    def find_session_key(self, cookie: str) -> ApiKey | None:
        """Return the key of a browser's session; None without a valid session.

        Raises:
            StoreError: Sessions cannot be looked up.
        """
        found = self.store.sessions.find(cookie) if self.store is not None else None
        if found is None:
            return None
        digest, key = found
        start = self.authorizer.start
        return start.key if start is not None and start.matches_digest(digest) else key

    def require_store(self) -> Store:
        """Return the store.

        Raises:
            NoDatabaseError: The endpoint has no store.
        """
        if self.store is None:
            raise NoDatabaseError(
                "this endpoint has no database", fix="start it with --database, or with --data"
            )
        return self.store


bearer = HTTPBearer(auto_error=False, description="A key: `medtune keys add NAME`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def get_services(request: Request) -> Services:
    """Return the services of the application that received a request."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(get_services)]


async def get_store(request: Request) -> Store:
    """Return the store of the application; declare it after the caller, who is told first.

    Raises:
        NoDatabaseError: The endpoint has no store.
    """
    return get_services(request).require_store()


StoreDep = Annotated[Store, Depends(get_store)]


def admit(
    request: Request, services: Services, secret: str | None, role: Role, cost: int = 1
) -> str:
    """Authenticate a caller, and charge a request against its rate limit.

    Returns:
        Name of the key, or `LOCAL_CALLER`.

    Raises:
        DeniedError: The request is not allowed, or not now.
        StoreError: Keys cannot be looked up.
    """
    host = request.client.host if request.client else None
    # DNS rebinding: a foreign host name that resolves to this machine is not local.
    named = LOCAL_HOST.fullmatch(request.headers.get("host", "")) is not None
    forwarded = is_forwarded(request.headers) or not named
    return services.authorizer.admit(secret, host, forwarded, role, cost) or LOCAL_CALLER


class Admission(NamedTuple):
    """The caller of a question, and why it is rejected unless there is a crisis."""

    caller: str | None
    rejection: DeniedError | StoreError | None = None


@dataclass(frozen=True)
class RequireRole:
    """A dependency that requires a role; its value is the caller's name.

    Attributes:
        role: Least role.
        cost: Questions charged for a request before its body is read.
        asks: Whether it asks questions: the value is the `Admission` then, since the reply to a
            crisis ignores rate limits.
    """

    role: Role
    cost: int = 1
    asks: bool = False

    def __call__(self, request: Request, credentials: Credentials) -> Any:
        """Return what `AdmittedRoute` found."""
        del credentials  # a parameter, so that the OpenAPI schema lists the key
        found: Admission = request.state.admission
        if self.asks:
            return found
        assert found.caller is not None, "a rejected caller reaches no route"
        return found.caller


class AdmittedRoute(APIRoute):
    """A route that authenticates its caller before it reads the body."""

    @property
    def required_role(self) -> RequireRole | None:
        """The required role; None for a public route."""
        calls = (dependency.call for dependency in self.dependant.dependencies)
        return next((call for call in calls if isinstance(call, RequireRole)), None)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the request handler."""
        handle, needs = super().get_route_handler(), self.required_role
        if needs is None:
            return handle

        async def admitted(request: Request) -> Response:
            found = await admit_request(request, needs.role, needs.cost)
            if found.rejection is not None and not needs.asks:
                raise found.rejection
            request.state.admission = found
            body = await _read_body(request)
            if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
                raise HTTPException(422, f"more than {MAX_BRACKETS:,} brackets")
            try:
                return await handle(request)
            except RequestValidationError as error:
                if not needs.asks or not isinstance(error.body, dict):
                    raise
                return await _answer_crisis(request, found.caller, error)

        return admitted


async def _answer_crisis(
    request: Request, caller: str | None, error: RequestValidationError
) -> Response:
    """Answer a crisis in an invalid request with its card.

    Raises:
        RequestValidationError: The request contains no crisis.
    """
    services, path = get_services(request), request.scope["path"]
    asked = await services.run_in_admission_thread(extract_inquiries, path, error.body)
    return build_response(
        path, error.body, asked, await services.engine.answer(asked, caller, error)
    )


async def _read_body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise HTTPException(400, "the connection closed before the whole body arrived") from error


async def admit_request(request: Request, role: Role, cost: int) -> Admission:
    """Authenticate the caller of a JSON route, and charge some questions.

    Raises:
        DeniedError: The key is missing or unknown (401, 429), or lacks the role (403).
    """
    credentials = await bearer(request)
    secret = credentials.credentials if credentials else None
    services = get_services(request)

    async def admitted() -> str:
        if services.authorizer.needs_no_lookup(secret):
            return admit(request, services, secret, role, cost)
        return await services.run_in_admission_thread(admit, request, services, secret, role, cost)

    return await admit_or_postpone(admitted())


async def admit_or_postpone(admitted: Awaitable[str]) -> Admission:
    """Await an admission; a rate limit or a failed store is returned as `rejection`, not raised.

    A crisis still gets its card then.

    Raises:
        DeniedError: The caller may not ask at all.
    """
    try:
        return Admission(await admitted)
    except DeniedError as error:
        if not error.authorized:
            raise
        return Admission(None, error)
    except StoreError as error:
        return Admission(None, error)


QuestionAdmission = Annotated[Admission, Depends(RequireRole("ask", asks=True))]
BatchAdmission = Annotated[Admission, Depends(RequireRole("ask", cost=0, asks=True))]
"""Charged once the number of questions is known."""
Asker = Annotated[str, Depends(RequireRole("ask"))]
Reviewer = Annotated[str, Depends(RequireRole("review"))]
Admin = Annotated[str, Depends(RequireRole("admin"))]
