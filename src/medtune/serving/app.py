"""Build the endpoint's ASGI application."""

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
from medtune.serving.pages.errors import UNAVAILABLE_RETRY_S

MAX_REPORTED_FAULTS = 10
"""Most validation faults listed in a response; the others are counted."""
RETENTION_INTERVAL_S = 3600.0
"""Seconds between deletions of old requests."""


def create_app(parts: Services, *, logs: bool = True) -> FastAPI:
    """Build the application.

    Args:
        parts: The endpoint's services.
        logs: Whether every request is logged.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        del app
        await parts.engine.start()
        retention = asyncio.create_task(_run_retention(parts))
        yield
        retention.cancel()
        # All connections are served by now: waiting questions were answered before.
        await parts.engine.close()
        if parts.store is not None:
            parts.store.close()

    app = FastAPI(
        title="medtune",
        summary="Answers medical multiple-choice exam questions, with guards and human review.",
        description=DISCLAIMER,
        version=installed_version("medtune") or "0",
        lifespan=life,
        docs_url=None,  # its pages load scripts from a CDN
        redoc_url=None,
    )
    app.state.services = parts
    for router in (answers.router, reviews.router, pages.router):
        app.include_router(router)
    place = Path(str(files("medtune.serving.pages"))) / "static"
    app.mount("/static", StaticFiles(directory=place), name="static")
    for kind in HANDLED_ERRORS:
        app.add_exception_handler(kind, error_response)
    app.add_middleware(BodyLimit)
    app.add_middleware(Unhandled)
    app.add_middleware(SecurityHeaders)
    if logs:
        app.add_middleware(RequestLog)
    return app


async def _run_retention(parts: Services) -> None:
    """Delete requests older than the policy allows, and log the audit head, every hour."""
    retention = None if parts.store is None else Retention(parts.store)
    while retention is not None:
        days = parts.engine.predictor.policy.privacy.days
        try:
            await asyncio.to_thread(retention.sweep, days)
            head = await asyncio.to_thread(retention.store.read_audit_head)
            log.info("audit head", lines=head.lines, hash=head.hash)
        except StoreError as error:  # shown by the readiness route until the store is back
            log.warning("retention", fault=error.found)
        await asyncio.sleep(RETENTION_INTERVAL_S)


def problem_response(
    title: str, status: int, detail: str, retry_after_s: float | None = None
) -> JSONResponse:
    """Build an error response (RFC 9457)."""
    headers = {} if retry_after_s is None else {"Retry-After": str(ceil(retry_after_s))}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = Problem(title=title, status=status, detail=detail)
    return JSONResponse(
        body.model_dump(), status, headers=headers, media_type="application/problem+json"
    )


HANDLED_ERRORS = (
    RequestValidationError, BusyError, DeniedError, ReviewError, StoreError, ModelError,
    HTTPException,
)  # fmt: skip


async def error_response(request: Request, error: Exception) -> Response:
    """Answer an error with a problem, or in OpenAI's form; the request is not repeated."""
    response = _problem_for_error(request, error)
    if request.url.path not in openai_compat.OPENAI_PATHS:
        return response
    return _openai_response(error, response)


def _openai_response(error: Exception, response: JSONResponse) -> Response:
    """Convert a problem to OpenAI's error form."""
    body = json.loads(bytes(response.body))
    message, param, code = body["detail"], None, None
    # OpenAI has no 422.
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
        openai_compat.openai_error(status, message, param, code), status, headers=headers
    )


def _problem_for_error(request: Request, error: Exception) -> JSONResponse:
    away = request.app.state.services.metrics.count_rejection
    match error:
        case RequestValidationError():
            return _validation_problem(error)
        case BusyError():
            away("busy")
            detail = "too many questions are waiting"
            return problem_response("busy", 429, detail, error.retry_after_s)
        case DeniedError():
            away("rate" if error.status == 429 else "key")
            return problem_response(
                "not admitted", error.status, error.message, error.retry_after_s
            )
        case ReviewError():
            return problem_response(
                "review", 404 if error.found.startswith("no ") else 409, str(error)
            )
        case StoreError() | ModelError():
            away("unavailable")
            what = "store" if isinstance(error, StoreError) else "model"
            log.warning("unavailable", what_fails=what, fault=error.found)
            detail = f"the {what} is unavailable; nothing was stored"
            return problem_response("unavailable", 503, detail, UNAVAILABLE_RETRY_S)
        case HTTPException():
            return problem_response("not possible", error.status_code, str(error.detail))
    raise error


def _validation_problem(error: RequestValidationError) -> JSONResponse:
    found = error.errors()
    faults = tuple(
        {"where": fault_location(fault), "what": fault["msg"]}
        for fault in found[:MAX_REPORTED_FAULTS]
    )
    status = 400 if is_invalid_json(error) else 422
    detail = "1 fault" if len(found) == 1 else f"{len(found)} faults"
    if len(found) > len(faults):
        detail += f", the first {len(faults)} of which are listed"
    body = Problem(title="not as the schema says", status=status, detail=detail, faults=faults)
    return JSONResponse(body.model_dump(), status, media_type="application/problem+json")


def is_invalid_json(error: RequestValidationError) -> bool:
    """Return whether a body was not valid JSON."""
    return any(fault["type"] == "json_invalid" for fault in error.errors())


def fault_location(fault: Any) -> list[str]:
    """Return the path of a validation fault; an unknown field's name is the caller's own text."""
    place = [str(part) for part in fault["loc"]]
    return [*place[:-1], "(unknown)"] if fault["type"] == "extra_forbidden" else place
