"""Build the endpoint's ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from medtune._version import __version__
from medtune.core.errors import StoreError
from medtune.serving.api import answers, openai_compat, reviews
from medtune.serving.api.request_models import Problem
from medtune.serving.dependencies import Services
from medtune.serving.errors import ENDPOINT_ERRORS, ErrorReply, report_error
from medtune.serving.inference.fixed_texts import DISCLAIMER
from medtune.serving.middleware import BodyLimit, RequestLog, SecurityHeaders, Unhandled, log
from medtune.serving.monitoring.retention import Retention
from medtune.serving.pages import router as pages

RETENTION_INTERVAL_S = 3600.0
"""Seconds between deletions of old requests."""


def build_app(services: Services, *, logs: bool = True) -> FastAPI:
    """Build the application; with `logs`, it logs every request and the audit head."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        del app
        await services.engine.start()
        retention = asyncio.create_task(_run_retention(services, logs))
        yield
        retention.cancel()
        # All connections are served by now: waiting questions were answered before.
        await services.engine.close()
        if services.store is not None:
            services.store.close()

    app = FastAPI(
        title="medtune",
        summary="Answers medical multiple-choice exam questions, with guards and human review.",
        description=DISCLAIMER,
        version=__version__,
        lifespan=life,
        docs_url=None,  # its pages load scripts from a CDN
        redoc_url=None,
    )
    app.state.services = services
    for router in (answers.router, reviews.router, pages.router):
        app.include_router(router)
    place = Path(str(files("medtune.serving.pages"))) / "static"
    app.mount("/static", StaticFiles(directory=place), name="static")
    for kind in ENDPOINT_ERRORS:
        app.add_exception_handler(kind, error_response)
    app.add_middleware(BodyLimit)
    app.add_middleware(Unhandled)
    app.add_middleware(SecurityHeaders)
    if logs:
        app.add_middleware(RequestLog)
    return app


async def _run_retention(services: Services, logs: bool) -> None:
    """Delete requests older than the policy allows, and with `logs` log the audit head, hourly."""
    retention = None if services.store is None else Retention(services.store)
    while retention is not None:
        days = services.engine.predictor.policy.privacy.days
        try:
            await asyncio.to_thread(retention.sweep, days)
            if logs:
                head = await asyncio.to_thread(retention.store.audit.read_head)
                log.info("audit head", lines=head.lines, hash=head.hash)
        except StoreError as error:  # shown by the readiness route until the store is back
            log.warning("retention", fault=error.found)
        await asyncio.sleep(RETENTION_INTERVAL_S)


async def error_response(request: Request, error: Exception) -> Response:
    """Answer an error with a problem (RFC 9457), or in OpenAI's form."""
    reply = report_error(error, request.app.state.services.metrics)
    if request.url.path in openai_compat.OPENAI_PATHS:
        return _openai_response(reply)
    body = Problem(title=reply.title, status=reply.status, detail=reply.detail, faults=reply.faults)
    return JSONResponse(
        body.model_dump(),
        reply.status,
        headers=reply.headers,
        media_type="application/problem+json",
    )


def _openai_response(reply: ErrorReply) -> Response:
    message, param, code = reply.detail, None, None
    if reply.faults:
        fault = reply.faults[0]
        param = ".".join(p for p in fault["where"][1:] if p not in ("parts", "text")) or None
        message = f"{param}: {fault['what']}" if param else fault["what"]
        if reply.fault_type == openai_compat.UNSUPPORTED_FAULT:
            code = reply.fault_type
    status = 400 if reply.status == 422 else reply.status  # OpenAI has no 422
    return JSONResponse(
        openai_compat.openai_error(status, message, param, code), status, headers=reply.headers
    )
