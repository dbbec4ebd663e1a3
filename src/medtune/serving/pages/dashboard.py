"""The page that shows what was asked, answered and deferred."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from fastapi import APIRouter, Response

from medtune.serving.dependencies import Parts
from medtune.serving.monitoring.activity import compared, summarized
from medtune.serving.pages.errors import PageRoute
from medtune.serving.pages.page_request import ReviewVisit
from medtune.serving.storage.store import Store

PERIODS = {"1": "last day", "7": "last week", "30": "last 30 days"}
router = APIRouter(route_class=PageRoute)


@router.get("/dashboard")
async def dashboard(
    visit: ReviewVisit, parts: Parts, days: Literal["1", "7", "30"] = "7"
) -> Response:
    """Show the requests of a period."""
    found = await asyncio.to_thread(_counted, parts.kept(), int(days))
    return visit.page(
        "dashboard.html",
        days=days,
        periods=PERIODS,
        release=parts.engine.mind.release,
        kept_days=parts.engine.mind.policy.privacy.days,
        **found,
    )


def _counted(store: Store, days: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    # A request that comes in meanwhile counts next time.
    start, finals = now - timedelta(days=days), store.finals()
    decisions = {one.item.request_id: one.final.kind for one in finals if one.final}
    return {
        "activity": summarized(store.entries(start, now), decisions, store.feedback()),
        "shadows": compared(store.shadowed(start, now), finals),
        "counts": store.counts(),
        "now": now,
    }
