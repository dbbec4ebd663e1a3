from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.retrieval.indexes import index_of, text_passage

from medtune.core.experiment import RetrievalConfig
from medtune.core.records import Question
from medtune.retrieval.evidence import ELLIPSIS, EvidenceFinder
from medtune.retrieval.index import FolderIndex

OPTIONS = ("Vitamin C", "Iodine", "Selenium")
STEM = "Which prevents scurvy?"
SCURVY = Question(id="scurvy", stem=STEM, options=OPTIONS, answer=0)
PASSAGES = (
    text_passage("c", "Citrus holds vitamin C"),
    text_passage("i", "Iodine is needed by the thyroid gland for its hormones"),
    text_passage("s", "Scurvy was common among sailors"),
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FolderIndex:
    return index_of(tmp_path_factory.mktemp("evidence") / "index", PASSAGES)


def finder(index: FolderIndex, **settings: Any) -> EvidenceFinder:
    return EvidenceFinder(index, RetrievalConfig(**{"kind": "per-option", **settings}))


def test_every_option_finds_its_own_passage(index: FolderIndex) -> None:
    found = finder(index).find("Which is needed by the thyroid?", OPTIONS)
    assert found[0] != found[1]
    assert found[0] == ("Citrus holds vitamin C",)
    assert found[1] == (PASSAGES[1].text,)
    assert len(found) == 3


def test_shared_passages_are_the_same_for_all_options_in_any_order(index: FolderIndex) -> None:
    shared = finder(index, kind="shared", passages=3)
    found = {shared.find(STEM, order) for order in permutations(OPTIONS)}
    assert len(found) == 1
    first, *others = found.pop()
    assert len(first) == 3
    assert others == [first, first]


def test_the_stem_alone_finds_what_it_names(index: FolderIndex) -> None:
    found = finder(index, kind="shared", query="stem").find(STEM, OPTIONS)
    assert found == ((PASSAGES[2].text,),) * 3


def test_what_leaks_is_not_shown(index: FolderIndex) -> None:
    open_ = finder(index, kind="shared", query="stem", passages=3)
    assert open_.find(STEM, OPTIONS, excluded=[2])[0] == ()
    closed = EvidenceFinder(index, open_.settings, excluded=frozenset({2}))
    assert closed.find(STEM, OPTIONS)[0] == ()


def test_long_passages_are_cut_and_counted_whoever_asked_before(index: FolderIndex) -> None:
    cutting = finder(index, words=5)
    thyroid = SCURVY.model_copy(update={"id": "thyroid", "stem": "Which is needed by the thyroid?"})
    found = cutting.find(thyroid.stem, thyroid.options)
    assert found[1] == ("Iodine is needed by the" + ELLIPSIS,)
    assert found[0] == ("Citrus holds vitamin C",)
    shown = [passage for row in found for passage in row]
    expected = sum(passage.endswith(ELLIPSIS) for passage in shown)
    assert expected > 0
    for _ in range(2):
        assert cutting.count([thyroid]).cut == expected
    # The same number of a finder that was never asked, as after an evaluation is reused.
    assert finder(index, words=5).count([thyroid]) == cutting.count([thyroid])
    # The passage has ten words.
    assert finder(index, words=9).count([thyroid]).cut == expected
    assert finder(index, words=10).count([thyroid]).cut == 0


def test_a_question_that_finds_nothing_shows_nothing_and_is_counted(index: FolderIndex) -> None:
    strange = SCURVY.model_copy(update={"stem": "Wozu?", "options": ("Xyz", "Iodine", "Qrs")})
    assert finder(index).find(strange.stem, strange.options) == ((), (PASSAGES[1].text,), ())
    assert finder(index).count([strange, SCURVY]).without == 1
    shared = finder(index, kind="shared")
    assert shared.count([strange]).without == 0
    lost = strange.model_copy(update={"options": ("Xyz", "Qrs")})
    assert shared.find(lost.stem, lost.options) == ((), ())
    assert shared.count([lost, SCURVY]).without == 1


def test_the_identity_is_the_index_and_not_what_leaks(index: FolderIndex, tmp_path: Path) -> None:
    given = finder(index)
    other = EvidenceFinder(index, given.settings, excluded=frozenset({1}))
    assert given.hash_components() == other.hash_components() == index.manifest.hash
    again = index_of(tmp_path / "index", PASSAGES[:2])
    assert finder(again).hash_components() != given.hash_components()


def test_options_cannot_have_passages_of_their_own_by_the_stem() -> None:
    with pytest.raises(ValidationError, match="per-option"):
        RetrievalConfig(kind="per-option", query="stem")
