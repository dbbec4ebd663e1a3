"""The traceability table of an export: which record speaks to which principle, and what none does.

The principles are those of good machine learning practice (FDA, Health Canada, MHRA 2021; IMDRF
N88 2025) and of the World Health Organization (Ethics and governance of artificial intelligence
for health, 2021; Guidance on large multi-modal models, 2024), in words of our own.
"""

from __future__ import annotations

from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.limitations import limitations
from medtune.releases.export.render import render


def traceability(dossier: ReleaseContext) -> str:
    """Render the table."""
    return render("traceability.md", d=dossier, limits=limitations(dossier))
