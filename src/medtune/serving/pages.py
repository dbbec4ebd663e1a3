"""The endpoint's pages: plain HTML from the server; a script makes some of it handier."""

from __future__ import annotations

from fastapi import APIRouter

from medtune.serving import ask_page, dashboard_page, login_page, review_page

router = APIRouter(include_in_schema=False)
for pages in (ask_page, login_page, review_page, dashboard_page):
    router.include_router(pages.router)
