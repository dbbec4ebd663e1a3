"""The errors that the endpoint answers, in one table for the JSON routes and the pages."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from medtune.core.errors import ConflictError, ModelError, NotFoundError, StoreError
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.inference.request_batcher import BusyError
from medtune.serving.metrics import Metrics
from medtune.serving.middleware import log

UNAVAILABLE_RETRY_S = 5.0
"""Seconds after which to retry when the model or the database is unavailable."""
MAX_REPORTED_FAULTS = 10
"""Most validation faults listed in a response; the others are counted."""


class InvalidError(Exception):
    """An invalid form; the message is a sentence."""


class NoDatabaseError(StoreError):
    """An endpoint that stores nothing."""


ENDPOINT_ERRORS = (
    BusyError, DeniedError, HTTPException, InvalidError, ModelError, RequestValidationError,
    StoreError,
)  # fmt: skip
"""Everything that `describe_error` describes."""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error as the endpoint answers it.

    Attributes:
        status: HTTP status.
        title: Title of the problem (RFC 9457).
        detail: Message of the JSON routes.
        sentence: Message of the pages.
        counted: Name in the metric of rejected requests; None if it is no rejection.
        retry_after_s: Seconds after which to try again.
        faults: Faults of an invalid body.
        fault_type: Type of the first of them, as pydantic names it.
    """

    status: int
    title: str
    detail: str
    sentence: str
    counted: str | None = None
    retry_after_s: float | None = None
    faults: tuple[dict[str, Any], ...] = ()
    fault_type: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of the response."""
        found = {} if self.retry_after_s is None else {"Retry-After": str(ceil(self.retry_after_s))}
        return {**found, "WWW-Authenticate": "Bearer"} if self.status == 401 else found


def describe_error(error: Exception) -> ErrorReply:
    """Return the reply to an error; it does not repeat the request."""
    match error:
        case RequestValidationError():
            return _describe_faults(error)
        case InvalidError():
            return ErrorReply(422, "not possible", str(error), str(error))
        case HTTPException():
            detail = str(error.detail)
            return ErrorReply(error.status_code, "not possible", detail, detail)
        case BusyError():
            wait = error.retry_after_s
            busy = f"Many questions are waiting. Please ask again in {_format_wait(wait)}."
            return ErrorReply(429, "busy", "too many questions are waiting", busy, "busy", wait)
        case DeniedError():
            sentence, counted = _describe_denial(error)
            return ErrorReply(
                error.status, "not admitted", error.message, sentence, counted, error.retry_after_s
            )
        case NotFoundError():
            return ErrorReply(404, "review", str(error), to_sentence(error.found))
        case ConflictError():
            return ErrorReply(409, "review", str(error), to_sentence(error.found))
        case StoreError() | ModelError():
            return _describe_outage(error)
    raise error


def report_error(error: Exception, metrics: Metrics) -> ErrorReply:
    """Count a rejection, log a failed model or database, and return the reply."""
    reply = describe_error(error)
    if reply.counted is not None:
        metrics.count_rejection(reply.counted)
    if isinstance(error, StoreError | ModelError) and reply.status == 503:
        log.warning("unavailable", what_fails=_failed_part(error), fault=error.found)
    return reply


def to_sentence(text: str) -> str:
    """Make a sentence of an error message."""
    return f"{text[:1].upper()}{text[1:]}."


def _describe_faults(error: RequestValidationError) -> ErrorReply:
    found = error.errors()
    faults = tuple(
        {"where": _fault_location(fault), "what": fault["msg"]}
        for fault in found[:MAX_REPORTED_FAULTS]
    )
    # 400: the body is not valid JSON.
    status = 400 if any(fault["type"] == "json_invalid" for fault in found) else 422
    detail = "1 fault" if len(found) == 1 else f"{len(found)} faults"
    if len(found) > len(faults):
        detail += f", the first {len(faults)} of which are listed"
    title = "not as the schema says"
    return ErrorReply(
        status, title, detail, to_sentence(title), faults=faults, fault_type=found[0]["type"]
    )


def _fault_location(fault: Any) -> list[str]:
    """Return the path of a validation fault; an unknown field's name is the caller's own text."""
    place = [str(part) for part in fault["loc"]]
    return [*place[:-1], "(unknown)"] if fault["type"] == "extra_forbidden" else place


def _describe_denial(error: DeniedError) -> tuple[str, str]:
    """Return the sentence about a denial, and its name in the metric."""
    if error.status == 401:
        return "Please sign in with a key.", "key"
    if error.status == 403:
        return f"Your key is not sufficient: {error.message}.", "key"
    wait = _format_wait(error.retry_after_s or 1.0)
    return f"That is {error.message}. Please try again in {wait}.", "rate"


def _describe_outage(error: StoreError | ModelError) -> ErrorReply:
    # The error's own message names the database or the server, which is for the operator only.
    part = _failed_part(error)
    name = "database" if part == "store" else part
    sentence = f"The {name} is unavailable. Please try again in a moment."
    if isinstance(error, NoDatabaseError):
        sentence = "This endpoint has no database, so there is nothing to show."
    detail = f"the {part} is unavailable; nothing was stored"
    return ErrorReply(503, "unavailable", detail, sentence, "unavailable", UNAVAILABLE_RETRY_S)


def _failed_part(error: StoreError | ModelError) -> str:
    return "store" if isinstance(error, StoreError) else "model"


def _format_wait(seconds: float) -> str:
    number = max(1, ceil(seconds))
    return "1 second" if number == 1 else f"{number} seconds"
