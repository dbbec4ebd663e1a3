"""The endpoint as one ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from math import ceil
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from medtune.core.errors import ModelError, ReviewError, StoreError
from medtune.core.provenance import installed_version
from medtune.serving import api, pages, review_api
from medtune.serving.access import DeniedError
from medtune.serving.batching import BusyError
from medtune.serving.cards import DISCLAIMER
from medtune.serving.edge import BodyLimit, RequestLog, SecurityHeaders, log
from medtune.serving.retention import Retention
from medtune.serving.services import Services
from medtune.serving.troubles import UNAVAILABLE_S
from medtune.serving.unhandled import Unhandled
from medtune.serving.wire import Problem

RETENTION_S = 3600.0
"""How often what is too old is deleted."""


def create_app(parts: Services, *, logs: bool = True) -> FastAPI:
    """Put an endpoint together.

    Args:
        parts: What it is made of.
        logs: Whether every request is told in the log.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        del app
        await parts.engine.start()
        retention = asyncio.create_task(_keep_clean(parts))
        yield
        retention.cancel()
        # Here every connection is served: what waits was answered before.
        await parts.engine.close()
        if parts.store is not None:
            parts.store.close()

    app = FastAPI(
        title="medtune",
        summary="Answers medical multiple-choice exam questions, with guards and people.",
        description=DISCLAIMER,
        version=installed_version("medtune") or "0",
        lifespan=life,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.services = parts
    for router in (api.router, review_api.router, pages.router):
        app.include_router(router)
    place = Path(str(files("medtune.serving"))) / "static"
    app.mount("/static", StaticFiles(directory=place), name="static")
    for kind in KINDS:
        app.add_exception_handler(kind, told)
    app.add_middleware(BodyLimit)
    app.add_middleware(Unhandled)
    app.add_middleware(SecurityHeaders)
    if logs:
        app.add_middleware(RequestLog)
    return app


async def _keep_clean(parts: Services) -> None:
    """Delete what is older than the policy allows, and log the audit trail's head, every hour."""
    retention = None if parts.store is None else Retention(parts.store)
    while retention is not None:
        days = parts.engine.mind.policy.privacy.days
        try:
            await asyncio.to_thread(retention.sweep, days)
            head = await asyncio.to_thread(retention.store.audit_head)
            log.info("audit head", lines=head.lines, hash=head.hash)
        except StoreError as error:  # it shows in the readiness, and comes back with the store
            log.warning("retention", fault=error.found)
        await asyncio.sleep(RETENTION_S)


def problem(
    title: str, status: int, detail: str, retry_after_s: float | None = None
) -> JSONResponse:
    """Write an error."""
    headers = {} if retry_after_s is None else {"Retry-After": str(ceil(retry_after_s))}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = Problem(title=title, status=status, detail=detail)
    return JSONResponse(
        body.model_dump(), status, headers=headers, media_type="application/problem+json"
    )


KINDS = (
    RequestValidationError, BusyError, DeniedError, ReviewError, StoreError, ModelError,
    HTTPException,
)  # fmt: skip


async def told(request: Request, error: Exception) -> Response:
    """Answer an error with a problem; what the request said is not repeated."""
    away = request.app.state.services.metrics.turned_away
    match error:
        case RequestValidationError():
            return _unfit(error)
        case BusyError():
            away("busy")
            detail = "more questions wait than can be answered in time"
            return problem("busy", 429, detail, error.retry_after_s)
        case DeniedError():
            away("rate" if error.status == 429 else "key")
            return problem("not admitted", error.status, error.message, error.retry_after_s)
        case ReviewError():
            return problem("review", 404 if error.found.startswith("no ") else 409, str(error))
        case StoreError() | ModelError():
            away("unavailable")
            what = "store" if isinstance(error, StoreError) else "model"
            log.warning("unavailable", what_fails=what, fault=error.found)
            detail = f"the {what} cannot be used now; nothing was kept"
            return problem("unavailable", 503, detail, UNAVAILABLE_S)
        case HTTPException():
            return problem("not possible", error.status_code, str(error.detail))
    raise error


def _unfit(error: RequestValidationError) -> Response:
    faults = tuple(
        {"where": [str(part) for part in fault["loc"]], "what": fault["msg"]}
        for fault in error.errors()
    )
    broken = any(fault["type"] == "json_invalid" for fault in error.errors())
    status = 400 if broken else 422
    body = Problem(
        title="not as the schema says", status=status, detail=f"{len(faults)} faults", faults=faults
    )
    return JSONResponse(body.model_dump(), status, media_type="application/problem+json")
