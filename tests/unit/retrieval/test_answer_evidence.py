from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medtune.core.progress import NoProgress
from medtune.retrieval.answer_evidence import (
    MAX_LENGTH,
    MAX_PASSAGES,
    find_answer_evidence,
    passage_match,
    split_matches,
)
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.schema import Passage, PassageSource
from medtune.retrieval.words import WordSplitter

STEM = "Which nerve runs in the spiral groove of the humerus?"
OPTIONS = ("Ulnar nerve", "Radial nerve", "Median nerve")
SPLITTER = WordSplitter("english")


def passage(name: str, question: str | None, answer: str | None, text: str = "") -> Passage:
    return Passage(id=name, text=text, question=question, answer=answer, source="s", licence="MIT")


RADIAL = passage("radial", "The nerve that runs in the spiral groove is the:", "Radial nerve")
ULNAR = passage("ulnar", "Which nerve runs behind the medial epicondyle?", "Ulnar nerve")


@pytest.fixture
def index_of(tmp_path: Path) -> Any:
    def build(*passages: Passage) -> FolderIndex:
        source = PassageSource(source="s", licence="MIT", passages=len(passages))
        return build_index(passages, [source], tmp_path / "index", "english", NoProgress())

    return build


def test_the_passage_for_the_chosen_option_is_found(index_of: Any) -> None:
    found = find_answer_evidence(index_of(RADIAL, ULNAR), STEM, OPTIONS, 1)
    (shown,) = found.passages
    assert (shown.id, shown.source, shown.licence) == ("radial", "s", "MIT")
    assert shown.text == "The nerve that runs in the spiral groove is the: Radial nerve."
    assert shown.score > 0
    # Stem: nerve, run, spiral, groove of these and humerus; its question: nerve, run, spiral,
    # groove. The shares are 4/5 and 4/4, their harmonic mean 8/9.
    assert found.match == pytest.approx(8 / 9)
    assert 0 < found.rival < 0.6
    other = find_answer_evidence(index_of(RADIAL, ULNAR), STEM, OPTIONS, 0)
    assert (other.match, other.rival) == (found.rival, found.match)


def test_passages_for_no_option_are_shown_and_match_nothing(index_of: Any) -> None:
    found = find_answer_evidence(index_of(RADIAL, ULNAR), STEM, ("Axillary nerve", "Tibial"), 0)
    assert {shown.id for shown in found.passages} == {"radial", "ulnar"}
    assert (found.match, found.rival) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("one", "stem", "option"),
    [
        (RADIAL, STEM, "Ulnar nerve"),
        (RADIAL, "Which nerve does NOT run in the spiral groove?", "Radial nerve"),
        (passage("x", "All nerves run in the spiral groove EXCEPT:", "Ulnar"), STEM, "Ulnar"),
        (passage("x", None, None, STEM), STEM, "Radial nerve"),
        (RADIAL, "", "Radial nerve"),
        (RADIAL, "Quel vaisseau?", "Radial nerve"),
    ],
)
def test_what_is_not_the_question_matches_nothing(one: Passage, stem: str, option: str) -> None:
    assert passage_match(one, stem, option, SPLITTER) == 0.0


def test_a_stem_of_one_word_is_not_nearly_a_long_question() -> None:
    long = passage("x", "Which nerve is hurt by a fracture of the surgical neck?", "Axillary nerve")
    assert passage_match(long, "Which nerve?", "Axillary nerve", SPLITTER) < 0.6


def test_another_language_finds_nothing(index_of: Any) -> None:
    found = find_answer_evidence(index_of(RADIAL), "ビタミンCの欠乏は", ("壊血病", "脚気"), 0)
    assert (found.passages, found.match) == ((), 0.0)


def test_what_is_long_is_cut(index_of: Any) -> None:
    many = [passage(f"p{i}", None, None, "nerve groove " * 500) for i in range(9)]
    found = find_answer_evidence(index_of(*many), "nerve " * 50_000, OPTIONS, 0)
    assert len(found.passages) == MAX_PASSAGES
    assert all(len(shown.text) <= MAX_LENGTH + 2 for shown in found.passages)
    assert found.passages[0].text.endswith("nerve …")


def test_matched_words_are_told_apart() -> None:
    text = "Nerves, the <b>radial</b> one"
    pieces = split_matches(text, "Which radial nerve is the one?")
    assert "".join(piece for piece, _ in pieces) == text
    assert [piece for piece, matched in pieces if matched] == ["Nerves", "radial", "one"]
    assert split_matches(text, "") == [(text, False)]
    assert split_matches("", "nerve") == []
