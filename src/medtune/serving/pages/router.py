"""The router of all pages: plain HTML from the server, enhanced by a script."""

from __future__ import annotations

from fastapi import APIRouter

from medtune.serving.pages import ask, dashboard, login, reviews

router = APIRouter(include_in_schema=False)
for pages in (ask, login, reviews, dashboard):
    router.include_router(pages.router)
