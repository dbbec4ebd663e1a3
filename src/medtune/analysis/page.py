"""How pages are rendered: one environment, one set of filters."""

from __future__ import annotations

from difflib import SequenceMatcher

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from medtune.core.manifest import short_name
from medtune.core.records import Proportion


def render(template: str, **values: object) -> str:
    """Render one self-contained page."""
    environment = Environment(
        loader=PackageLoader("medtune.analysis"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "count": count,
        "marked": marked,
        "short": short_name,
    }
    return environment.get_template(template).render(**values)


def percent(value: float) -> str:
    """Write a proportion as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def interval(proportion: Proportion) -> str:
    """Write an interval as `low-high`, in per cent."""
    return f"{100 * proportion.low:.1f}–{100 * proportion.high:.1f}"


def count(value: int) -> str:
    """Write a count with its thousands parted."""
    return f"{value:,}"


def marked(text: str, other: str) -> Markup:
    """Mark the words of a text that another one does not have in their place."""
    mine, theirs = text.split(), other.split()
    # Case and punctuation at the ends are no difference to look at.
    a, b = ([w.strip(".,:;?!-()").casefold() for w in words] for words in (mine, theirs))
    parts = []
    matcher = SequenceMatcher(a=a, b=b, autojunk=False)
    for kind, start, end, _, _ in matcher.get_opcodes():
        words = escape(" ".join(mine[start:end]))
        if words:
            parts.append(words if kind == "equal" else Markup("<mark>{}</mark>").format(words))
    return Markup(" ").join(parts)
