"""Render the endpoint's pages, with filters for probabilities, times and reasons."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment

from medtune.core.formatting import format_percent
from medtune.core.records import LETTERS
from medtune.guardrails.answer_guards import is_decided_by_evidence
from medtune.reports.templating import create_environment
from medtune.retrieval.answer_evidence import split_matches
from medtune.serving.inference.fixed_texts import DISCLAIMER
from medtune.serving.pages import labels

MINUTE, HOUR, DAY = 60, 3600, 86400


def render_template(template: str, **values: object) -> str:
    """Render a template; all values are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = create_environment(
        "medtune.serving.pages",
        probability=format_probability,
        lasting=format_duration,
        clock=format_time,
        iso=format_iso_time,
        reason=labels.reason_label,
    )
    environment.filters["matches"] = split_matches
    environment.globals |= {"labels": labels, "letters": LETTERS, "disclaimer": DISCLAIMER}
    environment.globals["is_decided_by_evidence"] = is_decided_by_evidence
    return environment


def format_probability(value: float) -> str:
    """Format a probability in per cent; only exact values are shown as 0 or 100."""
    rounded = format_percent(value)
    if value > 0 and rounded == "0.0":
        return "< 0.1"
    return "> 99.9" if value < 1 and rounded == "100.0" else rounded


def format_duration(seconds: float) -> str:
    """Format a duration in its largest units."""
    if seconds < MINUTE:
        return f"{max(0, int(seconds))} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min"
    if seconds < DAY:
        return f"{int(seconds // HOUR)} h {int(seconds % HOUR // MINUTE)} min"
    return f"{int(seconds // DAY)} d {int(seconds % DAY // HOUR)} h"


def format_time(time: datetime) -> str:
    """Format a time for people, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def format_iso_time(time: datetime) -> str:
    """Format a time for browsers."""
    return time.astimezone(UTC).isoformat(timespec="seconds")
