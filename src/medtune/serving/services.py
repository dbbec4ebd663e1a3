"""What the routes share."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from medtune.core.errors import MedtuneError, StoreError
from medtune.core.served import RESERVED, ApiKey, Role
from medtune.serving.access import DeniedError, Gatekeeper, is_forwarded
from medtune.serving.edge import log
from medtune.serving.engine import Engine
from medtune.serving.metrics import Metrics
from medtune.serving.store import Store

LOCAL = RESERVED[0]
"""Name of a caller on the loopback interface in reviews and in the audit trail."""
LOCAL_HOST = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
"""How this machine calls itself in a Host header."""
READY_S = 2.0
"""For how long the answer of a readiness probe holds."""
Probe = Callable[[], object]


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
    gate: Gatekeeper
    metrics: Metrics
    secret: bytes
    probes: dict[str, Probe] = field(default_factory=dict)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    ready_s: float = READY_S
    _probed: tuple[float, list[str]] | None = None
    _probing: threading.Lock = field(default_factory=threading.Lock)

    def faults(self) -> list[str]:
        """Name what keeps questions from being answered; hosts and causes are for the log.

        Whoever asks again soon, or while another asks, costs nothing: anybody may ask.
        """
        with self._probing:
            if self._probed is None or time.monotonic() - self._probed[0] >= self.ready_s:
                self._probed = (time.monotonic(), self._probe())
            return self._probed[1]

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


def admit_question(
    request: Request, parts: Services, secret: str | None, cost: int = 1
) -> Admission:
    """Let somebody ask; a limit or a store that fails is told later, for a crisis gets its card.

    Raises:
        DeniedError: Without a key that is known (401), or with one that may not ask (403).
    """
    try:
        return Admission(admit(request, parts, secret, "ask", cost))
    except DeniedError as error:
        if error.status != 429:
            raise
        return Admission(None, error)
    except StoreError as error:
        return Admission(None, error)


def _questioner(request: Request, parts: Parts, credentials: Credentials) -> Admission:
    return admit_question(request, parts, credentials.credentials if credentials else None)


def needs(role: Role) -> Callable[..., str]:
    """Make the check that lets in callers of a role; it gives their name."""

    def check(request: Request, parts: Parts, credentials: Credentials) -> str:
        secret = credentials.credentials if credentials else None
        return admit(request, parts, secret, role)

    return check


Questioner = Annotated[Admission, Depends(_questioner)]
Asker = Annotated[str, Depends(needs("ask"))]
Reviewer = Annotated[str, Depends(needs("review"))]
Admin = Annotated[str, Depends(needs("admin"))]
