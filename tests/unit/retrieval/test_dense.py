"""Dense search and rank fusion, with an encoder of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medtune.core.errors import RetrievalError
from medtune.core.progress import NoProgress, Progress
from medtune.retrieval.dense import DenseVectors, HybridIndex, Vectors, fuse_ranks, save_vectors
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.schema import EncoderSettings, Passage, PassageSource, SearchHit

TEXTS = ["heart attack", "myocardial infarction", "broken bone", "bone fracture"]
MEANINGS = {"heart": 0, "attack": 0, "myocardial": 0, "infarction": 0, "broken": 1, "bone": 1}


class MeaningEncoder:
    """Encodes a text as the share of its words with either meaning."""

    def __init__(self, fingerprint: str = "a") -> None:
        self.settings = EncoderSettings(source="path:x", fingerprint=fingerprint, dimensions=2)

    def encode(self, texts: Sequence[str], progress: Progress) -> Vectors:
        vectors = np.zeros((len(texts), 2), dtype=np.float16)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, MEANINGS.get(word, 1)] += 1
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture
def folder_index(tmp_path: Path) -> FolderIndex:
    passages = [Passage(id=text, text=text, source="t") for text in TEXTS]
    sources = [PassageSource(source="t", licence=None, passages=len(TEXTS))]
    index = build_index(passages, sources, tmp_path / "index", "english", NoProgress())
    encoder = MeaningEncoder()
    save_vectors(encoder.encode(TEXTS, NoProgress()), index.folder)
    manifest = index.manifest.model_copy(update={"encoder": encoder.settings})
    return FolderIndex(index.folder, manifest, index._table, index._splitter, index._parts)


def open_hybrid(index: FolderIndex, fingerprint: str = "a") -> HybridIndex:
    vectors = DenseVectors.open(index.folder, index.manifest)
    return HybridIndex(index, vectors, MeaningEncoder(fingerprint))


def places(found: list[list[SearchHit]]) -> list[list[int]]:
    return [[hit.place for hit in hits] for hits in found]


def test_dense_search_finds_other_words_of_one_meaning(folder_index: FolderIndex) -> None:
    hybrid = open_hybrid(folder_index)
    assert places(hybrid.search_vectors(["heart"], 2)) == [[0, 1]]
    assert places(hybrid.search_vectors(["heart"], 2, excluded=[0])) == [[1, 2]]


def test_hybrid_ranks_what_both_searches_find_first(folder_index: FolderIndex) -> None:
    (by_words,) = places(folder_index.search(["fracture"], 4))
    (fused,) = places(open_hybrid(folder_index).search(["fracture"], 4))
    assert by_words == [3]
    assert fused[0] == 3
    assert set(fused) == {0, 1, 2, 3}


def test_hybrid_leaves_excluded_rows_out(folder_index: FolderIndex) -> None:
    assert 3 not in places(open_hybrid(folder_index).search(["fracture"], 4, excluded=[3]))[0]


def test_count_may_exceed_the_passages(folder_index: FolderIndex) -> None:
    assert len(open_hybrid(folder_index).search(["bone"], 99)[0]) == len(TEXTS)


def test_fusion_adds_reciprocal_ranks() -> None:
    first = [SearchHit(place=7, score=30), SearchHit(place=8, score=20)]
    second = [SearchHit(place=8, score=0.9), SearchHit(place=9, score=0.8)]
    fused = fuse_ranks([first, second], 3)
    assert [hit.place for hit in fused] == [8, 7, 9]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert [hit.place for hit in fuse_ranks([first[:1], second[1:]], 1)] == [7]


def test_other_encoder_is_refused(folder_index: FolderIndex) -> None:
    with pytest.raises(RetrievalError, match="another fingerprint"):
        open_hybrid(folder_index, fingerprint="b")


def test_index_without_vectors_is_refused(folder_index: FolderIndex) -> None:
    without = folder_index.manifest.model_copy(update={"encoder": None})
    with pytest.raises(RetrievalError, match="has no vectors"):
        DenseVectors.open(folder_index.folder, without)


def test_vectors_of_other_passages_are_refused(folder_index: FolderIndex) -> None:
    save_vectors(np.zeros((2, 2), dtype=np.float16), folder_index.folder)
    with pytest.raises(RetrievalError, match="has the shape"):
        DenseVectors.open(folder_index.folder, folder_index.manifest)
