from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.unit.retrieval.indexes import index_of, text_passage

from duplicates import labelled, questions_of
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.decontaminate import CleanedSource, decontaminate
from medtune.data.load import load_split
from medtune.retrieval.index import FolderIndex
from medtune.workflows.leaks import MIN_QUOTED_WORDS, LeakFinder

STEM = "Which drug is given first to a patient in anaphylactic shock?"
ASKED = Question(
    id="asked",
    stem=STEM,
    options=("Adrenaline", "Atropine", "Hydrocortisone", "Chlorpheniramine"),
    answer=0,
)


@cache
def halves() -> tuple[list[Question], list[Question]]:
    """Return questions to evaluate, and train questions: of each labelled pair one."""
    pairs = questions_of(labelled("dev"))
    starter = list(load_split("starter:train", for_training=True).questions)
    return pairs[::2], [*pairs[1::2], *starter]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FolderIndex:
    return index_of(tmp_path_factory.mktemp("leaks") / "index", halves()[1])


def test_every_duplicate_that_is_removed_from_train_is_found(index: FolderIndex) -> None:
    evaluated, train = halves()
    removed = {
        exclusion.id
        for exclusion in decontaminate(
            CleanedSource("train", QuestionTable.from_questions(train)),
            [CleanedSource("evaluated", QuestionTable.from_questions(evaluated))],
            near=True,
            within=False,
            progress=NoProgress(),
        ).excluded
        if "evaluated" in exclusion.reason
    }
    leaks = LeakFinder(index)
    leaking = frozenset().union(*(leaks.find_nearest(q).leaking for q in evaluated))
    found = {index.passage(row).id for row in leaking}
    assert len(removed) > 100
    assert removed <= found
    # The verdict is the same: a surplus can only come from other candidates.
    assert len(found - removed) <= 0.02 * len(found)


def near(**changes: Any) -> Question:
    return ASKED.model_copy(update={"id": "near", **changes})


@pytest.mark.parametrize(
    ("changes", "leaks"),
    [
        ({"stem": STEM.upper()}, True),
        ({"options": ASKED.options[::-1], "answer": 3}, True),
        ({"stem": f"{STEM} (AIIMS 2010)"}, True),
        ({"stem": STEM.replace("first", "last")}, False),
        (
            {"stem": "Which drug dilates the pupil?", "answer": 1},
            False,
        ),
    ],
)
def test_a_near_duplicate_leaks_and_another_question_does_not(
    changes: dict[str, Any], leaks: bool, tmp_path: Path
) -> None:
    others = list(load_split("starter:train", for_training=True).questions)[:30]
    index = index_of(tmp_path / "index", [*others, near(**changes)])
    found = LeakFinder(index).find_nearest(ASKED)
    assert found.leaking == (frozenset({30}) if leaks else frozenset())


def test_a_text_that_quotes_a_stem_leaks_it(tmp_path: Path) -> None:
    short = near(stem="What is anaphylactic shock?")
    assert len(short.stem.split()) < MIN_QUOTED_WORDS
    index = index_of(
        tmp_path / "index",
        [
            text_passage("quote", f"Exam 2010. {STEM.upper()} Adrenaline, of course."),
            text_passage("fact", "Adrenaline is given first to patients in anaphylactic shock."),
            text_passage("short", f"{short.stem} An allergy."),
        ],
    )
    assert LeakFinder(index).find_nearest(ASKED).leaking == {0}
    assert LeakFinder(index).find_nearest(short).leaking == frozenset()


def test_part_of_a_word_is_no_quote(tmp_path: Path) -> None:
    asked = near(stem="is the drug that is given first")
    index = index_of(
        tmp_path / "index", [text_passage("p", "This the drug that is given firstly, he said")]
    )
    assert LeakFinder(index).find_nearest(asked).leaking == frozenset()


def test_the_similarity_is_that_of_the_nearest_passage_that_is_left(tmp_path: Path) -> None:
    index = index_of(
        tmp_path / "index",
        [near(), near(id="other", stem="Which drug is given last in shock?", answer=2)],
    )
    found = LeakFinder(index).find_nearest(ASKED)
    assert found.leaking == {0}
    assert found.similarity(()) == 1.0
    # "which drug is given in shock" of 12 different words
    assert found.similarity(found.leaking) == pytest.approx(6 / 12)
    assert found.similarity({0, 1}) == 0.0


def test_a_question_that_shares_no_word_is_similar_to_nothing(tmp_path: Path) -> None:
    index = index_of(tmp_path / "index", [text_passage("p", "Unrelated")])
    found = LeakFinder(index).find_nearest(ASKED)
    assert (found.leaking, found.similarity(())) == (frozenset(), 0.0)
