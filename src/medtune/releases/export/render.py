"""The Jinja environment of an export's cards, with one format per kind of number.

Every value is written on one line of Markdown: bars, line ends and angle brackets in names, notes
and reasons can neither break a table nor add markup. A missing value raises an error instead of
being printed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medtune.core.formatting import format_count, format_percent, format_signed_points
from medtune.core.records import Proportion
from medtune.releases.gate_schema import ONE_SIDED

NOTICE = "For education and research; not medical advice."


def render_card(template: str, **values: object) -> str:
    """Render a card."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medtune.releases.export"),
        autoescape=False,  # Markdown, not HTML: `_escape_line` escapes
        undefined=StrictUndefined,
        finalize=_escape_line,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": format_percent,
        "share": format_with_interval,
        "points": format_signed_points,
        "number": format_number,
        "count": format_count,
        "short": shorten_hash,
        "date": format_date,
    }
    environment.globals |= {"notice": NOTICE, "one_sided": ONE_SIDED}
    return environment


def _escape_line(value: Any) -> str:
    assert value is not None, "a template must handle missing values"
    text = re.sub(r"\s+", " ", str(value)).replace("<", "&lt;")
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def format_with_interval(value: Proportion) -> str:
    """Format a proportion with its interval and n."""
    low, high = format_percent(value.low), format_percent(value.high)
    return f"{format_percent(value.value)} % ({low}–{high}, n = {value.n:,})"


def format_number(value: float) -> str:
    """Format a number with four significant digits."""
    return f"{value:.4g}"


def shorten_hash(value: str) -> str:
    """Shorten a hash."""
    return value[:12]


def format_date(value: datetime) -> str:
    """Format a date in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d}"
