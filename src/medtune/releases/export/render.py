"""Render the Markdown cards of an export."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment

from medtune.core.formatting import format_share
from medtune.releases.gate_schema import ONE_SIDED
from medtune.reports.templating import create_environment

NOTICE = "For education and research; not medical advice."


def render_card(template: str, **values: object) -> str:
    """Render a card."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = create_environment(
        "medtune.releases.export",
        markdown=True,
        share=format_share,
        number=format_number,
        short_hash=shorten_hash,
        date=format_date,
    )
    environment.globals |= {"notice": NOTICE, "one_sided": ONE_SIDED}
    return environment


def format_number(value: float) -> str:
    """Format a number with four significant digits."""
    return f"{value:.4g}"


def shorten_hash(value: str) -> str:
    """Shorten a hash."""
    return value[:12]


def format_date(value: datetime) -> str:
    """Format a date in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d}"
