from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.retrieval.conftest import Build, make_sources, of_question, of_text

from medtune.core.errors import FolderError, RetrievalError
from medtune.core.intervals import wilson_interval
from medtune.core.progress import NoProgress
from medtune.retrieval import index as module
from medtune.retrieval.index import (
    FolderIndex,
    build_index,
    check_replaceable,
    hash_index,
    read_index_manifest,
)
from medtune.retrieval.schema import OptionScorer, Passage, SearchHit

TEXTS = (
    "Adrenaline is given first in anaphylaxis.",
    "Scurvy is a deficiency of vitamin C.",
    "Beriberi is a deficiency of thiamine, a vitamin.",
)


def rows(hits: list[SearchHit]) -> list[int]:
    return [hit.place for hit in hits]


def make_scorer(**changes: object) -> OptionScorer:
    fields: dict[str, object] = {
        "features": ("best",),
        "weights": (0.2,),
        "source": "questions",
        "n": 10,
        "log_loss": 1.0,
        "accuracy": wilson_interval(5, 10),
    }
    return OptionScorer.model_validate(fields | changes)


def test_the_best_passage_comes_first_and_one_without_a_shared_word_not_at_all(
    build: Build,
) -> None:
    (hits,) = build(*TEXTS).search(["Which vitamins lacks scurvy?"], 5)
    assert rows(hits) == [1, 2]
    assert hits[0].score > hits[1].score > 0


@pytest.mark.parametrize("query", ["", "  ", "the of and", "???", "Welches Medikament zuerst?"])
def test_a_query_without_a_known_word_finds_nothing(build: Build, query: str) -> None:
    assert build(*TEXTS).search([query], 5) == [[]]


def test_excluded_rows_are_left_out_and_others_take_their_place(build: Build) -> None:
    index = build(*TEXTS)
    assert rows(index.search(["vitamin scurvy"], 1, excluded={1})[0]) == [2]
    assert index.search(["vitamin scurvy"], 1, excluded={0, 1, 2}) == [[]]
    assert rows(index.search(["vitamin scurvy"], 1)[0]) == [1]  # nothing is remembered


def test_equal_scores_go_to_the_earlier_row(build: Build) -> None:
    index = build(*["the same words"] * 7)
    assert rows(index.search(["same"], 3)[0]) == [0, 1, 2]


def test_an_index_of_one_passage(build: Build) -> None:
    index = build("Adrenaline.")
    assert rows(index.search(["adrenaline"], 5)[0]) == [0]
    assert index.search(["insulin"], 5) == [[]]


def test_the_question_is_searched_without_its_explanation(build: Build) -> None:
    index = build(
        of_question("Deficient in scurvy?", "Vitamin C", "Collagen needs it.", "a"),
        of_question("First drug?", "Adrenaline", name="b"),
    )
    assert rows(index.search(["collagen"], 5, "whole")[0]) == [0]
    assert index.search(["collagen"], 5, "question") == [[]]
    assert rows(index.search(["scurvy"], 5, "question")[0]) == [0]


def test_texts_have_one_part(build: Build) -> None:
    index = build(*TEXTS)
    assert not (index.folder / "question").exists()
    assert index.search(["scurvy"], 5, "question") == index.search(["scurvy"], 5, "whole")


def test_a_passage_is_read_as_it_was_written(build: Build) -> None:
    passage = of_question("Ménière – what?", "Vertigo", "ließ\n„nicht“ 中", "x#1")
    assert build(passage).passage(0) == passage


def test_a_very_long_passage_is_kept_whole(build: Build) -> None:
    text = "word " * 100_000 + "end"
    index = build(text, "end of another")
    assert index.passage(0).text == text
    assert rows(index.search(["end"], 2)[0]) == [1, 0]  # the shorter one first


def test_equal_content_makes_equal_files_and_is_reused(build: Build, tmp_path: Path) -> None:
    first = build(*TEXTS)
    again = build(*TEXTS)
    assert again.manifest == first.manifest  # with its time of building
    other = build(*TEXTS, folder=tmp_path / "other")
    assert other.manifest.files == first.manifest.files
    assert other.manifest.hash == first.manifest.hash


def test_other_content_or_another_stemmer_builds_it_again_without_the_old_scorer(
    build: Build,
) -> None:
    index = build(*TEXTS)
    index.write_scorer(make_scorer())
    for texts, stemmer in ((TEXTS[:2], "english"), (TEXTS[:2], "none")):
        changed = build(*texts, stemmer=stemmer)
        assert changed.manifest.hash != index.manifest.hash
        assert changed.read_scorer() is None
        changed.write_scorer(make_scorer())
    assert build(*TEXTS[:2], stemmer="none").read_scorer() is not None  # equal content: reused


def test_the_hash_depends_on_everything_that_is_searched() -> None:
    passages = [of_text("one", "a"), of_text("two", "b")]
    hashes = {
        hash_index("english", passages),
        hash_index("german", passages),
        hash_index("english", passages[::-1]),
        hash_index("english", [of_text("one", "a"), of_text("two", "c")]),
        hash_index("english", passages[:1]),
    }
    assert len(hashes) == 5


@pytest.mark.parametrize(
    ("passages", "found"),
    [
        ((), "there is no passage to index"),
        ((of_text("one"), of_text("two")), "two passages have the id a"),
        ((of_text("the of ..."),), "no passage has a word to search for"),
    ],
)
def test_passages_that_cannot_be_indexed_leave_nothing(
    build: Build, tmp_path: Path, passages: tuple[Passage, ...], found: str
) -> None:
    with pytest.raises(RetrievalError, match=found):
        build(*passages)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_stemmer_is_refused_with_those_that_exist(build: Build) -> None:
    with pytest.raises(RetrievalError, match=r"no stemmer 'klingon'\nexpected: .*english.*, none"):
        build(*TEXTS, stemmer="klingon")


# Folders


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda f: damage(f / "passages.arrow"), "passages.arrow was changed"),
        (lambda f: (f / "passages.arrow").unlink(), "passages.arrow is missing"),
        (lambda f: damage(f / "whole" / "data.csc.index.npy"), "data.csc.index.npy was changed"),
        (lambda f: (f / "whole" / "vocab.index.json").write_text("{}"), "vocab.index.json was"),
        (lambda f: rewrite(f / "manifest.json", version=99), "no passage index of version 1"),
        (lambda f: rewrite(f / "manifest.json", files={}), "passages.arrow was changed"),
        (lambda f: (f / "manifest.json").write_text("{"), "no passage index of version 1"),
        (lambda f: (f / "manifest.json").unlink(), "holds no passage index\n"),
    ],
)
def test_a_folder_that_was_changed_is_not_opened(
    build: Build, change: Callable[[Path], None], found: str
) -> None:
    folder = build(*TEXTS).folder
    change(folder)
    with pytest.raises(RetrievalError, match=found):
        FolderIndex.open(folder)


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(RetrievalError, match=r"manifest.json cannot be read: Is a directory"):
        read_index_manifest(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "manifest.json"])
def test_a_folder_of_something_else_is_not_replaced(
    build: Build, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / name).write_text('{"kind": "snapshot"}')
    with pytest.raises(RetrievalError, match=f"something that is no index: {name}"):
        build(*TEXTS, folder=folder)
    assert [path.name for path in folder.iterdir()] == [name]


def test_an_index_with_a_file_that_is_not_its_own_is_not_replaced(build: Build) -> None:
    folder = build(*TEXTS).folder
    (folder / "thesis.docx").write_text("years of work")
    with pytest.raises(RetrievalError, match=r"no index: thesis\.docx"):
        build(*TEXTS[:1])
    assert (folder / "thesis.docx").exists()


def test_an_index_of_another_version_or_damaged_is_replaced(build: Build) -> None:
    folder = build(*TEXTS).folder
    rewrite(folder / "manifest.json", version=0, backend="stone")
    assert build(*TEXTS).manifest.version == module.VERSION
    damage(folder / "passages.arrow")
    with pytest.raises(RetrievalError, match="was changed"):
        build(*TEXTS)  # equal content is reused only as it was built
    assert build(*TEXTS[:2]).manifest.passages == 2


def test_an_empty_folder_a_link_and_an_odd_name_are_written(build: Build, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    check_replaceable(real)
    link = tmp_path / "línk 'to' [it]"
    link.symlink_to(real)
    build(*TEXTS, folder=link)
    build(*TEXTS[:2], folder=link)
    assert link.is_symlink()
    assert FolderIndex.open(link).manifest.passages == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["real", link.name])


def test_a_file_in_the_place_of_the_folder(build: Build, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(RetrievalError, match="holds something that is no index"):
        build(*TEXTS, folder=tmp_path / "taken")
    with pytest.raises(
        FolderError, match=r"cannot write .*: (part of the path is a file|a file exists)"
    ):
        build(*TEXTS, folder=tmp_path / "taken" / "index")
    assert (tmp_path / "taken").read_text() == "x"


def test_an_interrupted_build_leaves_the_old_index(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = build(*TEXTS)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_passages", stop)
    made = [of_text("another", "a")]
    with pytest.raises(KeyboardInterrupt):
        build_index(made, make_sources(made), before.folder, "english", NoProgress())
    assert FolderIndex.open(before.folder).manifest == before.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


# The scorer


def test_a_scorer_is_its_indexes_own(build: Build, tmp_path: Path) -> None:
    index = build(*TEXTS)
    assert index.read_scorer() is None
    written = index.write_scorer(make_scorer())
    assert index.read_scorer() == written == make_scorer(index=index.manifest.hash)
    other = build("another text", folder=tmp_path / "other")
    (other.folder / "scorer.json").write_bytes((index.folder / "scorer.json").read_bytes())
    with pytest.raises(RetrievalError, match="is the scorer of another index"):
        other.read_scorer()
    index.remove_scorer()
    index.remove_scorer()
    assert index.read_scorer() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["best", "smell"], "weights": [1, 2]},
        {"features": [], "weights": []},
        {"features": ["best"], "weights": [1.0, 2.0]},
        {"features": ["best", "mean"], "weights": [1.0, 2.0], "negated": True},
        {"weights": ["much"]},
    ],
)
def test_a_scorer_that_makes_no_sense_is_not_taken_for_none(
    build: Build, changes: dict[str, object]
) -> None:
    index = build(*TEXTS)
    index.write_scorer(make_scorer())
    rewrite(index.folder / "scorer.json", **changes)
    with pytest.raises(RetrievalError, match=r"scorer.json is no scorer"):
        index.read_scorer()
