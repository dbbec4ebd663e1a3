"""Build an index of passages, and describe one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.errors import RetrievalError
from medtune.core.experiment import ColumnMapping
from medtune.core.progress import Progress
from medtune.models.open_index import StoredIndex, check_encoder_name, open_index
from medtune.retrieval.dense import build_hybrid_index
from medtune.retrieval.index import build_index, check_replaceable
from medtune.retrieval.postgres_index import build_postgres_index
from medtune.retrieval.schema import IndexDescription, ScoredPassage
from medtune.retrieval.words import WordSplitter
from medtune.workflows.build_index import (
    IndexContent,
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
    encoder: str | None = None,
    postgres: str | None = None,
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
        encoder: Sentence encoder whose vectors are searched beside the words; None for words alone.
        postgres: Address of the database to write the passages to; None for files.

    Raises:
        DataError: A source cannot be used.
        ModelError: The encoder cannot be used.
        RetrievalError: There is no passage, the folder holds something else, or the database
            cannot be used.
        FolderError: The folder cannot be written.
    """
    # What can be refused is refused before anything is read.
    if encoder is not None and postgres is not None:
        raise RetrievalError(
            "an index in PostgreSQL has no vectors",
            expected="--encoder or --postgres, not both",
        )
    if encoder is not None:
        check_encoder_name(encoder)
    check_replaceable(folder)
    WordSplitter(stemmer)
    content = read_index_content(
        data, progress, columns=columns, limit=limit, words=words, licence=licence
    )
    if without:
        content = leave_out_evaluated(content, without, folder, stemmer, progress)
    index = _write_index(content, folder, stemmer, encoder, postgres, progress)
    scorer = fit_index_scorer(index, calibration or content.calibration, weights, progress)
    return IndexDescription(folder=str(folder), manifest=index.manifest, scorer=scorer)


def _write_index(
    content: IndexContent,
    folder: Path,
    stemmer: str,
    encoder: str | None,
    postgres: str | None,
    progress: Progress,
) -> StoredIndex:
    passages, sources = content.passages, content.sources
    if postgres is not None:
        return build_postgres_index(passages, sources, folder, stemmer, postgres, progress)
    if encoder is None:
        return build_index(passages, sources, folder, stemmer, progress)
    from medtune.models.encoder import SentenceEncoder

    loaded = SentenceEncoder.load(encoder)
    return build_hybrid_index(passages, sources, folder, stemmer, loaded, progress)


def describe(folder: Path, query: str | None) -> IndexDescription:
    """Verify an index and describe it, with the best passages for a query.

    Raises:
        RetrievalError: The folder holds no usable index.
    """
    index = open_index(folder)
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
