"""The datasheet of an export: what a release's records know of the questions behind it.

The sections are those of Gebru et al. 2021 (CACM 64(12), arXiv 1803.09010).  A release knows its
train split by hash; that snapshot's own datasheet (`data.datasheet`) knows the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from medtune.core.records import SplitDescription
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.render import render
from medtune.releases.gate_schema import Evidence


def datasheet(dossier: ReleaseContext, texts: bool = False) -> str:
    """Render the datasheet.

    Args:
        dossier: What is known of the release.
        texts: Whether questions' texts stand in the evidence beside it.
    """
    return render("datasheet.md", d=dossier, splits=tuple(examined(dossier.evidence)), texts=texts)


def examined(evidence: Evidence) -> Iterator[tuple[str, SplitDescription]]:
    """List the splits that the release was examined on, with what for."""
    if evidence.analysis is not None:
        yield "examine", evidence.analysis.evaluation.data
    if evidence.packed is not None:
        yield "hold the packed weights to the unpacked", evidence.packed.reference.data
    if evidence.bench is not None:
        yield "time", evidence.bench.data
