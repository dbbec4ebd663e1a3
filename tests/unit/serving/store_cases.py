"""What the tests of the store have in common, on whichever database they run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from medtune.core.schemas.guardrails import GuardVerdict
from medtune.serving.schemas import AnswerReviewItem, RequestRecord, ShadowAnswer
from medtune.serving.storage.store import Store

START = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
LATER = START + timedelta(days=1)
CHILD = Path(__file__).with_name("store_child.py")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class OnStore:
    """Base of the behaviours; whoever derives from it says what `store_url` is."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, store_url: str, clock: Clock) -> Iterator[Store]:
        store = Store.open(store_url, now=clock)
        yield store
        store.close()


def entry(request_id: str, at: float = 0.0, **changes: Any) -> RequestRecord:
    """Make a request that came `at` seconds after the start."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "time": START + timedelta(seconds=at),
        "caller": "ward-7",
        "text_hmac": "ab" * 32,
        "length": 120,
        "options": 4,
        "subject": "Pharmacology",
        "status": "answered",
        "reasons": (GuardVerdict(guard="size", action="allow"),),
        "chosen": 2,
        "probabilities": (0.1, 0.2, 0.6, 0.1),
        "release": "r-1",
        "duration_s": 0.0625,
    }
    return RequestRecord(**(fields | changes))


def shadow(request_id: str, **changes: Any) -> ShadowAnswer:
    """Make what a shadow made of a request: the option that was chosen."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "release": "r-2",
        "outcome": "same",
        "chosen": 2,
        "probabilities": (0.1, 0.1, 0.7, 0.1),
        "unsure": False,
    }
    return ShadowAnswer(**(fields | changes))


def silent(request_id: str, outcome: str = "skipped") -> ShadowAnswer:
    """Make what is kept where a shadow gave no answer."""
    return shadow(request_id, outcome=outcome, chosen=None, probabilities=None, unsure=None)


def item(request_id: str, at: float = 0.0, **changes: Any) -> AnswerReviewItem:
    """Make an item of a request that came `at` seconds after the start."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "time": START + timedelta(seconds=at),
        "stem": "Which drug is given in labour?",
        "options": ("Oxytocin", "Warfarin", "Digoxin"),
        "subject": "Obstetrics",
        "topic": "sensitive.pregnancy",
        "proposed": 0,
        "probabilities": (0.7, 0.2, 0.1),
        "release": "r-1",
    }
    return AnswerReviewItem(**(fields | changes))


def put(store: Store, *ids: str, **changes: Any) -> None:
    """Keep requests that wait for a reviewer, a second apart."""
    for at, request_id in enumerate(ids):
        waits = entry(request_id, at, status="pending_review")
        store.requests.add(waits, item(request_id, at, **changes))


def begin_child(url: str, action: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a process of its own on a store."""
    command = [sys.executable, str(CHILD), url, action, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finish(child: subprocess.Popen[str]) -> list[str]:
    """Wait for a process to end well; return its lines."""
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return out.split()


def execute(url: str, *statements: str) -> None:
    """Do what medtune would not, past the store."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def let_audit_be_changed(url: str) -> None:
    """Take the triggers away that keep the audit trail."""
    if url.startswith("sqlite"):
        names = ("audit_not_changed", "audit_not_deleted", "audit_in_order")
        execute(url, *(f"DROP TRIGGER {name}" for name in names))
    else:
        execute(url, "DROP TRIGGER audit_stays ON audit")
