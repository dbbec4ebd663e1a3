"""The dashboard page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from fastapi import APIRouter, Response

from medtune.serving.dependencies import ServicesDep, StoreDep
from medtune.serving.monitoring.activity import compare_shadows, summarize_activity
from medtune.serving.pages.page_request import ReviewPageRequest
from medtune.serving.pages.page_route import PageRoute
from medtune.serving.storage.store import Store

PERIODS = {"1": "last day", "7": "last week", "30": "last 30 days"}
router = APIRouter(route_class=PageRoute)


@router.get("/dashboard")
async def show_dashboard(
    page: ReviewPageRequest,
    services: ServicesDep,
    store: StoreDep,
    days: Literal["1", "7", "30"] = "7",
) -> Response:
    """Show the requests of a period."""
    found = await asyncio.to_thread(_load_counts, store, int(days))
    return page.page_response(
        "dashboard.html",
        days=days,
        periods=PERIODS,
        release=services.engine.predictor.release,
        kept_days=services.engine.predictor.policy.privacy.days,
        **found,
    )


def _load_counts(store: Store, days: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    # Requests that arrive meanwhile are counted next time.
    start, finals = now - timedelta(days=days), store.reviews.list_decided()
    decisions = {one.item.request_id: one.final.kind for one in finals if one.final}
    return {
        "activity": summarize_activity(
            store.requests.iter_period(start, now), decisions, store.requests.list_feedback()
        ),
        "shadows": compare_shadows(store.requests.iter_shadowed(start, now), finals),
        "counts": store.requests.count(),
        "now": now,
    }
