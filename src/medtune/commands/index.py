"""Build an index of passages (`medtune index build`), and describe one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medtune.core.config import read_columns
from medtune.core.display.html import render_result
from medtune.core.errors import RetrievalError
from medtune.core.experiment import ColumnMapping
from medtune.core.model_names import SEARCH_PREFIX
from medtune.core.progress import Progress
from medtune.core.records import Question
from medtune.core.run_folder import as_path
from medtune.models.open_index import StoredIndex, check_encoder_name, open_index
from medtune.retrieval.dense import build_hybrid_index
from medtune.retrieval.index import build_index, check_replaceable
from medtune.retrieval.postgres_index import build_postgres_index
from medtune.retrieval.schema import IndexDescription, ScoredPassage
from medtune.retrieval.words import WordSplitter
from medtune.workflows.build_index import (
    STEMMER,
    WORDS,
    IndexContent,
    fit_index_scorer,
    leave_out_evaluated,
    read_index_content,
)
from medtune.workflows.progress_bars import choose_progress

SHOWN = 5
"""Passages shown for a query."""


@dataclass(frozen=True, repr=False)
class SearchIndex:
    """An index of passages in a folder."""

    record: IndexDescription
    folder: Path

    def __repr__(self) -> str:
        return f"<SearchIndex of {self.record.manifest.passages:,} passages in {self.folder}>"

    @property
    def model(self) -> str:
        """Return the name of the model that answers by this search alone."""
        return f"{SEARCH_PREFIX}{self.folder}"

    @cached_property
    def _index(self) -> StoredIndex:
        return open_index(self.folder)

    def search(self, text: str, count: int = SHOWN) -> tuple[ScoredPassage, ...]:
        """Return the best passages for a text, the best first.

        Raises:
            RetrievalError: The folder holds no usable index any more.
        """
        return _search(self._index, text, count)

    def _repr_html_(self) -> str:
        """Show the sources in a notebook."""
        rows = [(s.source, s.licence, s.passages) for s in self.record.manifest.sources]
        title = f"{self.record.manifest.passages:,} passages, {self.model}"
        return render_result(title, ("source", "licence", "passages"), rows)


def search_index(
    data: str | Path | Sequence[Question | Mapping[str, Any]],
    out: str | Path,
    *,
    columns: ColumnMapping | Mapping[str, Any] | None = None,
    limit: int | None = None,
    without: str | Sequence[str] = (),
    words: int = WORDS,
    licence: str | None = None,
    stemmer: str = STEMMER,
    calibration: str | None = None,
    weights: bool = False,
    encoder: str | None = None,
    postgres: str | None = None,
    progress: Progress | None = None,
) -> SearchIndex:
    """Build a search index and fit its scorer; parts that are up to date are reused.

    Args:
        data: DATA whose train split is indexed, a path of texts, or questions.
        out: Folder to write.
        columns: Mapping of the columns of a file or a data frame of questions.
        limit: Use only this many first questions, or first passages of texts.
        without: DATA, one or more, of evaluated questions; passages that leak one are left out.
        words: Most words of a passage of a text.
        licence: Licence where the source states none.
        stemmer: Snowball stemmer, or "none".
        calibration: DATA to fit the scorer on; None for the snapshot's calibration split, else
            the index's own questions.
        weights: Whether to fit the weights of all features, not a temperature alone.
        encoder: Sentence encoder whose vectors are searched beside the words; None for words alone.
        postgres: Address of the database to write the passages to; None for files.
        progress: Progress to report to; None is a bar in a terminal or a notebook.

    Raises:
        DataError: A source cannot be used.
        ModelError: The encoder cannot be used.
        RetrievalError: There is no passage, the folder holds something else, or the database
            cannot be used.
        FolderError: The folder cannot be written.
    """
    folder, progress = as_path(out), choose_progress(progress)
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
        data,
        progress,
        columns=read_columns(columns),
        limit=limit,
        words=words,
        licence=licence,
    )
    without = (without,) if isinstance(without, str) else without
    if without:
        content = leave_out_evaluated(content, without, folder, stemmer, progress)
    index = _write_index(content, folder, stemmer, encoder, postgres, progress)
    scorer = fit_index_scorer(index, calibration or content.calibration, weights, progress)
    record = IndexDescription(folder=str(folder), manifest=index.manifest, scorer=scorer)
    return SearchIndex(record, folder)


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
    return IndexDescription(
        folder=str(folder),
        manifest=index.manifest,
        scorer=index.read_scorer(),
        query=query,
        found=_search(index, query, SHOWN) if query is not None else (),
    )


def _search(index: StoredIndex, text: str, count: int) -> tuple[ScoredPassage, ...]:
    (hits,) = index.search([text], count)
    return tuple(ScoredPassage(passage=index.passage(hit.place), score=hit.score) for hit in hits)
