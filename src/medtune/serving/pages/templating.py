"""How the endpoint's pages are rendered: one environment, one set of filters."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from medtune.core.formatting import count, interval
from medtune.core.records import LETTERS, Proportion
from medtune.serving.inference.fixed_texts import DISCLAIMER
from medtune.serving.pages import labels

MINUTE, HOUR, DAY = 60, 3600, 86400


def render(template: str, **values: object) -> str:
    """Render one page; whatever is put into it is escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medtune.serving.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "share": share,
        "interval": interval,
        "count": count,
        "lasting": lasting,
        "clock": clock,
        "iso": iso,
        "reason": labels.reason,
    }
    environment.globals |= {"words": labels, "letters": LETTERS, "disclaimer": DISCLAIMER}
    return environment


def percent(value: float) -> str:
    """Write a probability; what is not quite certain is never written as 0 or 100."""
    rounded = f"{100 * value:.1f}"
    if value > 0 and rounded == "0.0":
        return "< 0.1"
    return "> 99.9" if value < 1 and rounded == "100.0" else rounded


def share(proportion: Proportion) -> str:
    """Write a proportion in per cent."""
    return f"{100 * proportion.value:.1f}"


def lasting(seconds: float) -> str:
    """Write a time span in its largest units."""
    if seconds < MINUTE:
        return f"{max(0, int(seconds))} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min"
    if seconds < DAY:
        return f"{int(seconds // HOUR)} h {int(seconds % HOUR // MINUTE)} min"
    return f"{int(seconds // DAY)} d {int(seconds % DAY // HOUR)} h"


def clock(time: datetime) -> str:
    """Write a moment for people, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def iso(time: datetime) -> str:
    """Write a moment for browsers."""
    return time.astimezone(UTC).isoformat(timespec="seconds")
