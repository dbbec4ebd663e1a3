from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.progress import NoProgress
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.schema import Passage, PassageSource
from medtune.retrieval.subset import IndexSubset

N = 40


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FolderIndex:
    passages = [
        Passage(id=str(number), text=f"scurvy case {number}", source="file:a.txt")
        for number in range(N)
    ]
    source = PassageSource(source="file:a.txt", licence=None, passages=N)
    folder: Path = tmp_path_factory.mktemp("index")
    return build_index(passages, [source], folder / "all", "english", NoProgress())


def rows(index: IndexSubset) -> set[int]:
    (hits,) = index.search(["scurvy"], N)
    return {hit.place for hit in hits}


def test_a_smaller_share_lies_within_a_larger_one(index: FolderIndex) -> None:
    found = [rows(IndexSubset(index, share)) for share in (0.1, 0.5, 1.0)]
    assert [len(some) for some in found] == [4, 20, 40]
    assert found[0] < found[1] < found[2]


def test_says_its_own_size_and_hash(index: FolderIndex) -> None:
    half = IndexSubset(index, 0.5)
    assert half.manifest.passages == 20
    assert half.manifest.hash not in (index.manifest.hash, IndexSubset(index, 0.1).manifest.hash)
    assert half.manifest.hash == IndexSubset(index, 0.5).manifest.hash


def test_leaves_out_more_rows_and_keeps_their_numbers(index: FolderIndex) -> None:
    half = IndexSubset(index, 0.5)
    kept = rows(half)
    gone = min(kept)
    (hits,) = half.search(["scurvy"], N, excluded=[gone])
    assert {hit.place for hit in hits} == kept - {gone}
    assert half.passage(gone).id == str(gone)
