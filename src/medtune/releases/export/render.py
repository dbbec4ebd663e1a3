"""Render the Markdown pages of an export: model card, datasheet and traceability."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment

from medtune.core.formatting import format_share
from medtune.releases.export.context import ReleaseContext, evaluated_splits
from medtune.releases.export.limitations import list_limitations
from medtune.releases.gate_schema import ONE_SIDED
from medtune.reports.templating import create_environment

NOTICE = "For education and research; not medical advice."


def render_card(template: str, **values: object) -> str:
    """Render a card."""
    return _environment().get_template(template).render(**values)


def render_release_datasheet(context: ReleaseContext, texts: bool = False) -> str:
    """Render the datasheet of an export: what its records know of the questions.

    The sections are those of Gebru et al. 2021 (CACM 64(12), arXiv 1803.09010). A release knows its
    train split by hash; that snapshot's own datasheet (`data.datasheet`) has the rest.

    Args:
        context: The release and its records.
        texts: Whether the exported evidence contains questions' texts.
    """
    splits = tuple(evaluated_splits(context.evidence))
    return render_card("datasheet.md", d=context, splits=splits, texts=texts)


def render_traceability(context: ReleaseContext) -> str:
    """Render the traceability table: which record addresses which principle, and gaps.

    The principles are those of good machine learning practice (FDA, Health Canada, MHRA 2021; IMDRF
    N88 2025) and of the World Health Organization (Ethics and governance of artificial intelligence
    for health, 2021; Guidance on large multi-modal models, 2024), in our own words.
    """
    return render_card("traceability.md", d=context, limits=list_limitations(context))


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
