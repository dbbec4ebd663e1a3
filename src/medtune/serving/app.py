"""The endpoint as one ASGI application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from math import ceil
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from medtune.core.errors import ModelError, ReviewError, StoreError
from medtune.core.provenance import installed_version
from medtune.serving.api import answers, openai_compat, reviews
from medtune.serving.api.request_models import Problem
from medtune.serving.api.unhandled import Unhandled
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.dependencies import Services
from medtune.serving.inference.fixed_texts import DISCLAIMER
from medtune.serving.inference.request_batcher import BusyError
from medtune.serving.middleware import BodyLimit, RequestLog, SecurityHeaders, log
from medtune.serving.monitoring.retention import Retention
from medtune.serving.pages import router as pages
from medtune.serving.pages.errors import UNAVAILABLE_S

MOST_FAULTS = 10
"""Of a request that are told; the others are counted."""
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
    for router in (answers.router, reviews.router, pages.router):
        app.include_router(router)
    place = Path(str(files("medtune.serving.pages"))) / "static"
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
    """Answer an error with a problem, or in OpenAI's form; what was said is not repeated."""
    response = _told(request, error)
    if request.url.path not in openai_compat.PATHS:
        return response
    return _as_openai(error, response)


def _as_openai(error: Exception, response: JSONResponse) -> Response:
    """Write a problem as OpenAI's clients read it."""
    body = json.loads(bytes(response.body))
    message, param, code = body["detail"], None, None
    # There is no 422 among OpenAI's.
    status = 400 if response.status_code == 422 else response.status_code
    if isinstance(error, RequestValidationError):
        fault = body["faults"][0]
        param = ".".join(p for p in fault["where"][1:] if p not in ("parts", "text")) or None
        message = f"{param}: {fault['what']}" if param else fault["what"]
        code = "unsupported_parameter" if "not supported" in fault["what"] else None
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-type")
    }
    return JSONResponse(
        openai_compat.failure(status, message, param, code), status, headers=headers
    )


def _told(request: Request, error: Exception) -> JSONResponse:
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


def _unfit(error: RequestValidationError) -> JSONResponse:
    found = error.errors()
    faults = tuple({"where": where(fault), "what": fault["msg"]} for fault in found[:MOST_FAULTS])
    status = 400 if is_broken(error) else 422
    detail = "1 fault" if len(found) == 1 else f"{len(found)} faults"
    if len(found) > len(faults):
        detail += f", of which these are the first {len(faults)}"
    body = Problem(title="not as the schema says", status=status, detail=detail, faults=faults)
    return JSONResponse(body.model_dump(), status, media_type="application/problem+json")


def is_broken(error: RequestValidationError) -> bool:
    """Tell whether a body was no JSON at all."""
    return any(fault["type"] == "json_invalid" for fault in error.errors())


def where(fault: Any) -> list[str]:
    """Say where a fault is; the name of a field that is not known is the asker's own text."""
    place = [str(part) for part in fault["loc"]]
    return [*place[:-1], "(unknown)"] if fault["type"] == "extra_forbidden" else place
