"""Dense search and rank fusion, with an encoder of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medtune.core.errors import RetrievalError
from medtune.core.progress import NoProgress, Progress
from medtune.retrieval.dense import (
    VECTORS_FILE,
    HybridIndex,
    Vectors,
    build_hybrid_index,
    fuse_ranks,
)
from medtune.retrieval.index import FolderIndex
from medtune.retrieval.option_features import ALL_FEATURES, search_options
from medtune.retrieval.schema import (
    EncoderSettings,
    FeatureName,
    Passage,
    PassageSource,
    SearchHit,
)

TEXTS = ["heart attack", "myocardial infarction", "broken bone", "bone fracture"]
PASSAGES = [Passage(id=text, text=text, source="t") for text in TEXTS]
SOURCES = [PassageSource(source="t", licence=None, passages=len(TEXTS))]
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
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def hybrid(folder: Path) -> HybridIndex:
    return build(folder)


def build(folder: Path, fingerprint: str = "a") -> HybridIndex:
    encoder = MeaningEncoder(fingerprint)
    return build_hybrid_index(PASSAGES, SOURCES, folder, "english", encoder, NoProgress())


def places(found: list[list[SearchHit]]) -> list[list[int]]:
    return [[hit.place for hit in hits] for hits in found]


def test_dense_search_finds_other_words_of_one_meaning(hybrid: HybridIndex) -> None:
    assert places(hybrid.search_vectors(["heart"], 2)) == [[0, 1]]
    assert places(hybrid.search_vectors(["heart"], 2, excluded=[0])) == [[1, 2]]


def test_hybrid_ranks_what_both_searches_find_first(hybrid: HybridIndex) -> None:
    (by_words,) = places(hybrid.words.search(["fracture"], 4))
    (fused,) = places(hybrid.search(["fracture"], 4))
    assert by_words == [3]
    assert fused[0] == 3
    assert set(fused) == {0, 1, 2, 3}


def test_hybrid_leaves_excluded_rows_out(hybrid: HybridIndex) -> None:
    assert 3 not in places(hybrid.search(["fracture"], 4, excluded=[3]))[0]


def test_count_may_exceed_the_passages(hybrid: HybridIndex) -> None:
    assert len(hybrid.search(["bone"], 99)[0]) == len(TEXTS)


def test_features_read_the_passages_that_the_vectors_find(hybrid: HybridIndex) -> None:
    options = ["infarction", "fracture"]
    names: tuple[FeatureName, ...] = ("explanations", "best")
    by_words = search_options(hybrid.words, "heart", options, names)
    by_vectors = search_options(hybrid, "heart", options, names)
    assert by_words[:, 0].tolist() == [0.0, 0.0]  # no passage has "heart" beside either
    assert by_vectors[0, 0] > by_vectors[1, 0]
    assert by_vectors[:, 1].tolist() == by_words[:, 1].tolist()


@pytest.mark.parametrize("stem", ["", "zzz"])
def test_features_of_a_stem_without_meaning(hybrid: HybridIndex, stem: str) -> None:
    found = search_options(hybrid, stem, ["infarction", "?"], ALL_FEATURES)
    assert np.isfinite(found).all()


def test_same_content_is_not_encoded_again(
    hybrid: HybridIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(MeaningEncoder, "encode")
    assert build(folder).manifest == hybrid.manifest


def test_other_encoder_makes_another_index(hybrid: HybridIndex, folder: Path) -> None:
    other = build(folder, fingerprint="b")
    assert other.manifest.hash != hybrid.manifest.hash
    assert other.manifest.encoder == MeaningEncoder("b").settings
    with pytest.raises(RetrievalError, match="is not the one"):
        HybridIndex.open(folder, MeaningEncoder("a"))


def test_changed_vectors_are_found(hybrid: HybridIndex, folder: Path) -> None:
    assert VECTORS_FILE in hybrid.manifest.files
    np.save(folder / VECTORS_FILE, np.zeros((4, 2), dtype=np.float16))
    with pytest.raises(RetrievalError, match="was changed"):
        HybridIndex.open(folder, MeaningEncoder())


def test_interrupted_encoding_leaves_an_index_without_vectors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> Vectors:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MeaningEncoder, "encode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(folder)
    assert FolderIndex.open(folder).manifest.encoder is None
    with pytest.raises(RetrievalError, match="has no vectors"):
        HybridIndex.open(folder, MeaningEncoder())
    assert build(folder).manifest.encoder is not None


def test_fusion_adds_reciprocal_ranks() -> None:
    first = [SearchHit(place=7, score=30), SearchHit(place=8, score=20)]
    second = [SearchHit(place=8, score=0.9), SearchHit(place=9, score=0.8)]
    fused = fuse_ranks([first, second], 3)
    assert [hit.place for hit in fused] == [8, 7, 9]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert [hit.place for hit in fuse_ranks([first[:1], second[1:]], 1)] == [7]
