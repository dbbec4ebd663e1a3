"""The one table of errors that the JSON routes and the pages share."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from medtune.core.errors import ConflictError, ModelError, NotFoundError, RemoteError, StoreError
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.errors import InvalidError, NoDatabaseError, describe_error, report_error
from medtune.serving.inference.request_batcher import BusyError
from medtune.serving.metrics import Metrics


@pytest.mark.parametrize(
    ("error", "status", "title", "sentence", "counted", "again"),
    [
        (BusyError(2.5), 429, "busy", "again in 3 seconds.", "busy", "3"),
        (DeniedError(401, "x"), 401, "not admitted", "Please sign in with a key.", "key", None),
        (DeniedError(403, "x"), 403, "not admitted", "not sufficient: x.", "key", None),
        (DeniedError(429, "x", 0.2), 429, "not admitted", "again in 1 second.", "rate", "1"),
        (InvalidError("Bad."), 422, "not possible", "Bad.", None, None),
        (HTTPException(405), 405, "not possible", "Method Not Allowed", None, None),
        # The status follows from the type: the message may begin with anything.
        (NotFoundError("item a is gone"), 404, "review", "Item a is gone.", None, None),
        (ConflictError("no option 7"), 409, "review", "No option 7.", None, None),
        (NoDatabaseError("x"), 503, "unavailable", "has no database", "unavailable", "5"),
        (StoreError("host"), 503, "unavailable", "The database is unavail", "unavailable", "5"),
        (ModelError("host"), 503, "unavailable", "The model is unavail", "unavailable", "5"),
        (RemoteError("host"), 503, "unavailable", "The model is unavail", "unavailable", "5"),
    ],
)
def test_table(
    error: Exception, status: int, title: str, sentence: str, counted: str | None, again: str | None
) -> None:
    found = describe_error(error)
    assert (found.status, found.title, found.counted) == (status, title, counted)
    assert sentence in found.sentence
    assert found.headers.get("Retry-After") == again
    assert ("WWW-Authenticate" in found.headers) == (status == 401)
    assert "host" not in found.detail + found.sentence


def test_only_reporting_counts() -> None:
    metrics = Metrics()
    describe_error(BusyError(1.0))
    assert b'why="busy"' not in metrics.render_prometheus()
    report_error(BusyError(1.0), metrics)
    report_error(ConflictError("x"), metrics)
    assert b'medtune_turned_away_total{why="busy"} 1.0' in metrics.render_prometheus()


def test_a_bug_is_not_described() -> None:
    with pytest.raises(KeyError):
        describe_error(KeyError("x"))
