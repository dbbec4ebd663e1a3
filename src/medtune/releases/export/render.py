"""How a release's cards are rendered: one environment, one way to write each kind of number.

Whatever is put into a template ends in one line of Markdown: bars, line ends and angle brackets
in names, notes and reasons change no table and bring in no markup.  Nothing that is missing is
ever written: a template that puts it into a sentence fails.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medtune.core.formatting import count, percent, signed
from medtune.core.records import Proportion
from medtune.releases.gate_schema import ONE_SIDED

NOTICE = "For education and research; not medical advice."


def render(template: str, **values: object) -> str:
    """Render one card."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medtune.releases.export"),
        autoescape=False,  # Markdown, not HTML: `_line` escapes
        undefined=StrictUndefined,
        finalize=_line,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "share": share,
        "points": signed,
        "number": number,
        "count": count,
        "short": short,
        "date": date,
    }
    environment.globals |= {"notice": NOTICE, "one_sided": ONE_SIDED}
    return environment


def _line(value: Any) -> str:
    assert value is not None, "a card says that something is missing, it does not print it"
    text = re.sub(r"\s+", " ", str(value)).replace("<", "&lt;")
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def share(value: Proportion) -> str:
    """Write a proportion with interval and n."""
    low, high = percent(value.low), percent(value.high)
    return f"{percent(value.value)} % ({low}–{high}, n = {value.n:,})"


def number(value: float) -> str:
    """Write a number with four digits that count."""
    return f"{value:.4g}"


def short(value: str) -> str:
    """Shorten a hash."""
    return value[:12]


def date(value: datetime) -> str:
    """Write a day, UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d}"
