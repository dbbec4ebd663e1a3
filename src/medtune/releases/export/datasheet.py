"""Render the datasheet of an export: what its records know of the questions.

The sections are those of Gebru et al. 2021 (CACM 64(12), arXiv 1803.09010). A release knows its
train split by hash; that snapshot's own datasheet (`data.datasheet`) has the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from medtune.core.records import SplitDescription
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.render import render_card
from medtune.releases.gate_schema import Evidence


def render_release_datasheet(context: ReleaseContext, texts: bool = False) -> str:
    """Render the datasheet.

    Args:
        context: The release and its records.
        texts: Whether the exported evidence contains questions' texts.
    """
    return render_card(
        "datasheet.md", d=context, splits=tuple(evaluated_splits(context.evidence)), texts=texts
    )


def evaluated_splits(evidence: Evidence) -> Iterator[tuple[str, SplitDescription]]:
    """Yield the splits that the release was evaluated on, each with its use."""
    if evidence.analysis is not None:
        yield "examine", evidence.analysis.evaluation.data
    if evidence.packed is not None:
        yield "hold the packed weights to the unpacked", evidence.packed.reference.data
    if evidence.bench is not None:
        yield "time", evidence.bench.data
