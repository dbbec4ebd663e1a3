from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from medtune.core.errors import InputError, RetrievalError
from medtune.core.experiment import Experiment, RetrievalConfig
from medtune.core.predictions_io import read_evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question
from medtune.data.arrow_table import QuestionTable
from medtune.data.load import describe_split
from medtune.evaluation.exam import Exam
from medtune.models.search_model import SearchModel
from medtune.workflows import search_baseline
from medtune.workflows.build_index import build_train_index
from medtune.workflows.search_baseline import (
    LEAKS_FILE,
    SnapshotSearch,
    evaluate_search,
    refuse_open_book,
)
from medtune.workflows.search_reference import SearchedSplit


def question(name: str, stem: str, answer: str, *others: str, explanation: str = "") -> Question:
    return Question(
        id=name, stem=stem, options=(answer, *others), answer=0, explanation=explanation or None
    )


TRAIN = [
    question("t1", "Which vitamin is deficient in scurvy?", "Ascorbic acid", "Thiamine"),
    question("t2", "What is the drug of choice in anaphylaxis?", "Adrenaline", "Digoxin"),
    question("t3", "Which nerve is injured in wrist drop?", "Radial nerve", "Ulnar nerve"),
    question("t4", "Bone of the thigh", "Femur", "Tibia"),
]
ASKED = [
    question("a1", "Gums bleed in scurvy: which vitamin is missing?", "Ascorbic acid", "Niacin"),
    question("a2", "Anaphylaxis is treated first with", "Adrenaline", "Atropine"),
    question("a3", "A long bone is the", "Fibula", "Femur"),
]
DATA = describe_split("file:asked.csv", QuestionTable.from_questions(ASKED), {})


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return build_train_index(
        TRAIN, "starter:train", "CC0-1.0", tmp_path / "index", NoProgress()
    ).folder


def searched(index: Path, folder: Path) -> SearchedSplit:
    return evaluate_search(index, ASKED, DATA, folder, NoProgress())


def test_the_search_is_an_evaluation_of_its_own(index: Path, tmp_path: Path) -> None:
    found = searched(index, tmp_path / "search")
    record, predictions = read_evaluation(tmp_path / "search")
    assert found.reference.right == (True, True, False)
    assert (record.label, record.method, record.counts.correct) == ("search", "letter", 2)
    assert record.open_book is not None
    assert (record.open_book.kind, record.open_book.passages) == ("search", 4)
    assert record.search is None, "a search is not compared with itself"
    assert tuple(p.similarity for p in predictions) == found.reference.similarity
    assert found.reference.fingerprint == record.model.fingerprint


def test_a_finished_search_opens_no_index(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = searched(index, tmp_path / "search")
    before = (tmp_path / "search" / "predictions.jsonl").stat().st_mtime_ns

    def refuse(*_: object) -> None:
        raise AssertionError("the index is opened")

    monkeypatch.setattr(SearchModel, "open", refuse)
    assert searched(index, tmp_path / "search") == first
    assert (tmp_path / "search" / "predictions.jsonl").stat().st_mtime_ns == before


def test_damaged_answers_and_another_index_are_searched_again(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    first = searched(index, folder)
    (folder / "predictions.jsonl").write_text("{")
    assert searched(index, folder) == first
    other = build_train_index(TRAIN[1:], "starter:train", None, index, NoProgress()).folder
    again = searched(other, folder)
    assert again.reference.right == (False, True, False)
    assert again.reference.passages == 3
    assert again.reference.index != first.reference.index


def test_a_search_that_was_killed_is_not_taken_for_a_finished_one(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "search"
    searched(index, folder)
    build_train_index(TRAIN[1:], "starter:train", None, index, NoProgress())

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search_baseline, "find_leaks", die)
    with pytest.raises(KeyboardInterrupt):
        searched(index, folder)
    assert not (folder / LEAKS_FILE).exists()


def test_passages_that_leak_a_question_are_left_out(tmp_path: Path) -> None:
    taught = [*TRAIN, ASKED[0].model_copy(update={"id": "t5", "stem": ASKED[0].stem.upper()})]
    index = build_train_index(taught, "starter:train", None, tmp_path / "index", NoProgress())
    found = searched(index.folder, tmp_path / "search")
    assert found.excluded == {4}
    assert (found.reference.passages, found.reference.left_out) == (5, 1)
    assert max(found.reference.similarity) < 1


def test_an_index_that_is_missing_or_changed_is_one_sentence(index: Path, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="holds no passage index"):
        searched(tmp_path / "none", tmp_path / "search")
    with (index / "passages.arrow").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RetrievalError, match="was changed"):
        searched(index, tmp_path / "search")


def test_passages_are_refused_where_none_would_be_shown() -> None:
    refuse_open_book(Experiment(), "medtune update")
    book = Experiment(retrieval=RetrievalConfig(kind="shared"))
    with pytest.raises(InputError, match=r'medtune update shows no passages.*kind = "shared"'):
        refuse_open_book(book, "medtune update")


def test_exams_of_an_open_book_leave_their_own_leaks_out(index: Path, tmp_path: Path) -> None:
    found = searched(index, tmp_path / "search")
    splits = {
        DATA.hash: replace(found, excluded=frozenset({1})),
        "other": replace(found, excluded=frozenset({2})),
    }
    search = SnapshotSearch(index, splits)
    assert pickle.loads(pickle.dumps(search)) == search, "the first process sends it to the others"
    exam = Exam.for_likelihood(ASKED, DATA, PromptStyle(), "letter")
    closed = search.find_evidence(Experiment())
    assert closed is None
    assert search.add_to_exam(exam, closed) == replace(exam, search=found.reference)
    book = Experiment(retrieval=RetrievalConfig(kind="shared"))
    evidence = search.find_evidence(book)
    assert evidence is not None
    assert evidence.excluded == {1, 2}, "no training reads what leaks any split"
    asked = search.add_to_exam(exam, evidence)
    assert asked.evidence is not None
    assert asked.evidence.excluded == {1}
    assert asked.search == found.reference
