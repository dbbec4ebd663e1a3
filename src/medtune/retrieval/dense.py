"""Dense search: vectors of passages by a sentence encoder, and its fusion with BM25.

The vectors are one more file in the folder of an index.  The manifest names the encoder, which must
be the same when the index is searched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import RetrievalError
from medtune.core.progress import NoProgress, Progress
from medtune.core.records import content_hash
from medtune.core.run_folder import hash_file, read_record, replace_folder, write_record
from medtune.retrieval.index import (
    MANIFEST_FILE,
    SCORER_FILE,
    FolderIndex,
    ScorerFile,
    best_hits,
    build_index,
    hash_index,
)
from medtune.retrieval.schema import (
    EncoderSettings,
    IndexManifest,
    Part,
    Passage,
    PassageSource,
    SearchHit,
)

VECTORS_FILE = "vectors.npy"
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


def build_hybrid_index(
    passages: Sequence[Passage],
    sources: Sequence[PassageSource],
    folder: Path,
    stemmer: str,
    encoder: TextEncoder,
    progress: Progress,
) -> HybridIndex:
    """Build an index with vectors, or reuse the one there if it has the same content.

    If it is interrupted while it encodes, the folder holds an index without vectors.

    Raises:
        RetrievalError: There is no passage, or two have one id.
        FolderError: The folder cannot be written.
    """
    hashed = content_hash([hash_index(stemmer, passages), encoder.settings.fingerprint])
    before = read_record(folder / MANIFEST_FILE, IndexManifest)
    if before is not None and before.hash == hashed:
        progress.log_message(f"{folder}: index {hashed[:12]} still valid")
    else:
        plain = build_index(passages, sources, folder, stemmer, progress)
        start = time.perf_counter()
        vectors = encoder.encode([passage.full_text for passage in passages], progress)
        _add_vectors(plain, vectors, encoder.settings, hashed, start)
    return HybridIndex.open(folder, encoder)


def _add_vectors(
    plain: FolderIndex, vectors: Vectors, settings: EncoderSettings, hashed: str, start: float
) -> None:
    """Write a folder with the files of a plain index and the vectors, and replace the former."""
    before = plain.manifest
    with replace_folder(plain.folder.resolve()) as staging:
        shutil.copytree(plain.folder, staging, dirs_exist_ok=True)
        (staging / SCORER_FILE).unlink(missing_ok=True)  # fitted without vectors
        path = staging / VECTORS_FILE
        np.save(path, vectors.astype(np.float16))
        manifest = before.model_copy(
            update={
                "hash": hashed,
                "encoder": settings,
                "files": before.files | {VECTORS_FILE: hash_file(path)},
                "size_bytes": before.size_bytes + path.stat().st_size,
                "build_s": before.build_s + time.perf_counter() - start,
            }
        )
        write_record(staging / MANIFEST_FILE, manifest)


@dataclass(frozen=True)
class DenseVectors:
    """Vectors of passages; every row is compared with a query."""

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

    @cached_property
    def _matrix(self) -> NDArray[np.float32]:
        """Return the rows in float32; to convert them for each query takes six times as long."""
        return self.rows.astype(np.float32)

    def search(
        self, queries: Vectors, count: int, excluded: Collection[int] = ()
    ) -> list[list[SearchHit]]:
        """Return the passages of the largest cosine for each query, the best first."""
        left_out = np.fromiter(excluded, dtype=np.int64, count=len(excluded))
        scores = queries.astype(np.float32) @ self._matrix.T
        scores[:, left_out] = -np.inf
        return [best_hits(values, count, above=-np.inf) for values in scores]


@dataclass(frozen=True)
class HybridIndex(ScorerFile):
    """An index whose BM25 hits are fused with those of a dense search."""

    folder: Path
    manifest: IndexManifest
    words: FolderIndex
    """Searched by BM25."""
    vectors: DenseVectors
    encoder: TextEncoder

    @classmethod
    def open(cls, folder: Path, encoder: TextEncoder) -> HybridIndex:
        """Open an index and verify its files and its encoder.

        Raises:
            RetrievalError: The folder holds no such index, a file was changed, or the encoder is
                not the one that the index was built with.
        """
        words = FolderIndex.open(folder)
        vectors = DenseVectors.open(folder, words.manifest)
        expected, found = words.manifest.encoder, encoder.settings
        if expected is None or expected.fingerprint != found.fingerprint:
            raise RetrievalError(
                f"the encoder {found.source} is not the one that {folder} was built with",
                expected=f"{expected}",
                fix="build the index again: medtune index build DATA --out DIR --encoder NAME",
            )
        return cls(folder, words.manifest, words, vectors, encoder)

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
