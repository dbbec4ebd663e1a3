"""Render templates: one jinja environment for HTML, one for Markdown, one format per number.

The endpoint's pages and the cards of a release add filters of their own to these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import cache
from hashlib import sha256
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from medtune.core.formatting import (
    format_count,
    format_interval,
    format_percent,
    format_signed_points,
)
from medtune.core.records import LETTERS, Prediction
from medtune.core.schemas.dataset import short_source_name


def render_page(template: str, **values: object) -> str:
    """Render a template as one self-contained page."""
    return _template_environment().get_template(template).render(**values)


@cache
def _template_environment() -> Environment:
    return create_environment(
        "medtune.reports",
        p_value=format_p_value_or_dash,
        marked=highlight_differences,
        said=format_prediction,
        anchor=make_html_id,
        short=short_source_name,
    )


def create_environment(
    package: str, *, markdown: bool = False, **filters: Callable[..., str]
) -> Environment:
    """Create the environment of a package's templates; a missing value raises an error.

    Args:
        package: The package, with a folder `templates`.
        markdown: Whether the templates are Markdown. Every value is then written on one line:
            bars, line ends and angle brackets can neither break a table nor add markup.
        filters: Filters in addition to the common ones, by name.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=not markdown,
        undefined=StrictUndefined,
        finalize=_escape_line if markdown else None,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=markdown,
    )
    environment.filters |= {
        "percent": format_percent,
        "interval": format_interval,
        "count": format_count,
        "signed": format_signed_points,
        **filters,
    }
    return environment


def _escape_line(value: Any) -> str:
    assert value is not None, "a template must handle missing values"
    text = re.sub(r"\s+", " ", str(value)).replace("<", "&lt;")
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def format_p_value_or_dash(value: float | None) -> str:
    """Format a p-value; a dash if nothing was tested."""
    if value is None:
        return "–"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def format_prediction(prediction: Prediction) -> str:
    """Format a prediction: letter, text and probability; without a choice, outcome and output."""
    if prediction.chosen is None:
        return f"({prediction.outcome}) {prediction.text or ''}".strip()
    text = f"{LETTERS[prediction.chosen]}. {prediction.options[prediction.chosen]}"
    if prediction.probabilities:
        text += f" ({100 * prediction.probabilities[prediction.chosen]:.0f} %)"
    return text


def make_html_id(text: str) -> str:
    """Return an HTML id of a name; names share an id only if they differ in case alone."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if re.fullmatch(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*", text):
        return slug
    return f"{slug}-{sha256(text.encode()).hexdigest()[:6]}".lstrip("-")


def highlight_differences(text: str, other: str) -> Markup:
    """Highlight the words of a text that differ from another text."""
    mine, theirs = text.split(), other.split()
    # Case and punctuation at the ends of words are ignored.
    a, b = ([w.strip(".,:;?!-()").casefold() for w in words] for words in (mine, theirs))
    parts = []
    matcher = SequenceMatcher(a=a, b=b, autojunk=False)
    for kind, start, end, _, _ in matcher.get_opcodes():
        words = escape(" ".join(mine[start:end]))
        if words:
            parts.append(words if kind == "equal" else Markup("<mark>{}</mark>").format(words))
    return Markup(" ").join(parts)
