"""Dense search: vectors of passages by a sentence encoder, and its fusion with BM25."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import RetrievalError
from medtune.core.progress import NoProgress, Progress
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import EncoderSettings, IndexManifest, Part, Passage, SearchHit

VECTORS_FILE = "vectors.npy"
ROWS_PER_PRODUCT = 16_384
"""Rows that are converted to float32 and multiplied at once."""
FUSION_K = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)."""
FUSION_DEPTH = 100
"""Hits of either search that are fused."""

Vectors = NDArray[np.float16]


class TextEncoder(Protocol):
    """A model that encodes texts as vectors of length 1."""

    @property
    def settings(self) -> EncoderSettings:
        """Return the source, the fingerprint and the dimensions of the encoder."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress) -> Vectors:
        """Return one vector per text, `[text, dimension]`."""
        ...


def encoded_text(passage: Passage) -> str:
    """Return the text of a passage that is encoded; the encoder cuts it to its longest input."""
    if passage.question is None:
        return passage.text
    return f"{passage.question} {passage.answer}. {passage.text}"


def save_vectors(vectors: Vectors, folder: Path) -> None:
    """Write the vectors of an index's passages to its folder."""
    np.save(folder / VECTORS_FILE, vectors.astype(np.float16))


@dataclass(frozen=True)
class DenseVectors:
    """Vectors of passages, mapped into memory; every row is compared with a query."""

    rows: Vectors
    """`[passage, dimension]`."""

    @classmethod
    def open(cls, folder: Path, manifest: IndexManifest) -> DenseVectors:
        """Map the vectors of an index into memory.

        Raises:
            RetrievalError: The index was built without an encoder, or its vectors do not fit it.
        """
        if manifest.encoder is None:
            raise RetrievalError(
                f"{folder} has no vectors",
                expected="an index built with an encoder",
                fix="medtune index build DATA --out DIR --encoder hub:ORG/NAME",
            )
        rows = np.load(folder / VECTORS_FILE, mmap_mode="r")
        expected = (manifest.passages, manifest.encoder.dimensions)
        if rows.shape != expected:
            raise RetrievalError(
                f"{folder / VECTORS_FILE} has the shape {rows.shape}", expected=f"{expected}"
            )
        return cls(rows)

    def search(
        self, queries: Vectors, count: int, excluded: Collection[int] = ()
    ) -> list[list[SearchHit]]:
        """Return the passages of the largest cosine for each query, the best first."""
        left_out = np.fromiter(excluded, dtype=np.int64, count=len(excluded))
        wanted = queries.astype(np.float32)
        scores = np.empty((len(wanted), len(self.rows)), dtype=np.float32)
        for first in range(0, len(self.rows), ROWS_PER_PRODUCT):
            chunk = self.rows[first : first + ROWS_PER_PRODUCT].astype(np.float32)
            scores[:, first : first + len(chunk)] = wanted @ chunk.T
        scores[:, left_out] = -np.inf
        found = []
        for values in scores:
            best = np.argpartition(-values, min(2 * count, len(values)) - 1)[: 2 * count]
            # Equal scores go to the earlier row, on every machine.
            best = best[np.lexsort((best, -values[best]))][:count]
            kept = best[np.isfinite(values[best])]
            found.append([SearchHit(place=int(i), score=float(values[i])) for i in kept])
        return found


@dataclass(frozen=True)
class HybridIndex:
    """An index whose BM25 hits are fused with those of a dense search."""

    words: PassageIndex
    """Searched by BM25."""
    vectors: DenseVectors
    encoder: TextEncoder

    def __post_init__(self) -> None:
        """Check that the encoder is the one that the index was built with."""
        expected, found = self.manifest.encoder, self.encoder.settings
        if expected is None or expected.fingerprint != found.fingerprint:
            name = expected.source if expected is not None else "no encoder"
            raise RetrievalError(
                f"the encoder is {found.source}, with another fingerprint",
                expected=f"{name}, as the index was built",
                fix="build the index again with this encoder: medtune index build --encoder",
            )

    @property
    def manifest(self) -> IndexManifest:
        """Return the description of the index."""
        return self.words.manifest

    def search(
        self,
        queries: Sequence[str],
        count: int,
        part: Part = "whole",
        excluded: Collection[int] = (),
    ) -> list[list[SearchHit]]:
        """Return the best passages of each query by reciprocal rank fusion.

        A part has no vectors of its own: the dense search compares whole passages.
        """
        depth = max(count, FUSION_DEPTH)
        by_words = self.words.search(queries, depth, part, excluded)
        by_vectors = self.search_vectors(queries, depth, excluded)
        return [fuse_ranks(rankings, count) for rankings in zip(by_words, by_vectors, strict=True)]

    def search_vectors(
        self, queries: Sequence[str], count: int, excluded: Collection[int] = ()
    ) -> list[list[SearchHit]]:
        """Return the passages of the largest cosine for each query, the best first."""
        vectors = self.encoder.encode(queries, NoProgress())
        return self.vectors.search(vectors, count, excluded)

    def passage(self, place: int) -> Passage:
        """Return the passage in a row."""
        return self.words.passage(place)


def fuse_ranks(rankings: Sequence[Sequence[SearchHit]], count: int) -> list[SearchHit]:
    """Fuse rankings: a passage scores the sum of 1 / (60 + its rank) over them, the best first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, 1):
            scores[hit.place] = scores.get(hit.place, 0.0) + 1 / (FUSION_K + rank)
    best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:count]
    return [SearchHit(place=place, score=score) for place, score in best]
