"""Render the traceability table: which record addresses which principle, and gaps.

The principles are those of good machine learning practice (FDA, Health Canada, MHRA 2021; IMDRF N88
2025) and of the World Health Organization (Ethics and governance of artificial intelligence for
health, 2021; Guidance on large multi-modal models, 2024), in our own words.
"""

from __future__ import annotations

from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.limitations import list_limitations
from medtune.releases.export.render import render_card


def render_traceability(context: ReleaseContext) -> str:
    """Render the table."""
    return render_card("traceability.md", d=context, limits=list_limitations(context))
