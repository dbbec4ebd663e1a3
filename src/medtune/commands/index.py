"""Build an index of passages, and describe one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.experiment import ColumnMapping
from medtune.core.progress import Progress
from medtune.retrieval.index import FolderIndex, build_index, check_replaceable
from medtune.retrieval.schema import IndexDescription, ScoredPassage
from medtune.retrieval.words import WordSplitter
from medtune.workflows.build_index import (
    fit_index_scorer,
    leave_out_evaluated,
    read_index_content,
)

SHOWN = 5
"""Passages shown for a query."""


def build(
    data: str,
    folder: Path,
    progress: Progress,
    *,
    columns: ColumnMapping | None,
    limit: int | None,
    without: Sequence[str],
    words: int,
    licence: str | None,
    stemmer: str,
    calibration: str | None,
    weights: bool,
) -> IndexDescription:
    """Build an index and fit its scorer; parts that are up to date are reused.

    Args:
        data: DATA whose train split is indexed, or a path of texts.
        folder: Folder to write.
        progress: Progress to report to.
        columns: Mapping of a file of questions.
        limit: Use only this many first questions, or first passages of texts.
        without: DATA arguments of evaluated questions; passages that leak one are left out.
        words: Most words of a passage of a text.
        licence: Licence where the source states none.
        stemmer: Snowball stemmer, or "none".
        calibration: DATA to fit the scorer on; None for the snapshot's calibration split, else
            the index's own questions.
        weights: Whether to fit the weights of all features, not a temperature alone.

    Raises:
        DataError: A source cannot be used.
        RetrievalError: There is no passage, or the folder holds something else.
        FolderError: The folder cannot be written.
    """
    # What can be refused is refused before anything is read.
    check_replaceable(folder)
    WordSplitter(stemmer)
    content = read_index_content(
        data, progress, columns=columns, limit=limit, words=words, licence=licence
    )
    if without:
        content = leave_out_evaluated(content, without, folder, stemmer, progress)
    index = build_index(content.passages, content.sources, folder, stemmer, progress)
    scorer = fit_index_scorer(index, calibration or content.calibration, weights, progress)
    return IndexDescription(folder=str(folder), manifest=index.manifest, scorer=scorer)


def describe(folder: Path, query: str | None) -> IndexDescription:
    """Verify an index and describe it, with the best passages for a query.

    Raises:
        RetrievalError: The folder holds no usable index.
    """
    index = FolderIndex.open(folder)
    hits = index.search([query], SHOWN)[0] if query is not None else []
    return IndexDescription(
        folder=str(folder),
        manifest=index.manifest,
        scorer=index.read_scorer(),
        query=query,
        found=tuple(
            ScoredPassage(passage=index.passage(hit.place), score=hit.score) for hit in hits
        ),
    )
