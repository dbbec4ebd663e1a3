"""Features of options, on an index of a few passages."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from medtune.core.progress import NoProgress
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.option_features import ALL_FEATURES, search_options
from medtune.retrieval.schema import FeatureName, Passage, PassageSource

STEM = "Which drug is the antidote of heparin overdose?"
OPTIONS = ["Protamine sulphate", "Vitamin K", "Digoxin"]


def question(row: int, stem: str, answer: str, wrong: str, text: str = "") -> Passage:
    return Passage(
        id=f"q{row}",
        text=text,
        question=stem,
        answer=answer,
        options=(wrong, answer),
        source="train",
    )


PASSAGES = [
    question(0, "Heparin overdose is treated with", "Protamine", "Vitamin K", "It binds it."),
    question(1, "Antidote of warfarin", "Vitamin K", "Protamine", "Slow; plasma is faster."),
    question(
        2,
        "Heparin acts on",
        "Antithrombin",
        "Digoxin",
        "Short half-life. Its antidote is protamine sulphate. Digoxin is another matter.",
    ),
    question(3, "Digoxin slows", "The heart", "The gut", "A glycoside."),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FolderIndex:
    return make(tmp_path_factory.mktemp("index") / "index", PASSAGES)


def make(folder: Path, passages: list[Passage]) -> FolderIndex:
    sources = [PassageSource(source="train", licence=None, passages=len(passages))]
    return build_index(passages, sources, folder, "english", NoProgress())


def values(
    index: FolderIndex, name: FeatureName, stem: str = STEM, **keywords: frozenset[int]
) -> list[float]:
    found = search_options(index, stem, OPTIONS, (name,), **keywords)
    assert found.shape == (3, 1)
    return [float(value) for value in found[:, 0]]


def test_best_and_first_are_the_best_hit(index: FolderIndex) -> None:
    found = search_options(index, STEM, OPTIONS, ("best", "first"))
    hits = index.search([f"{STEM} {option}" for option in OPTIONS], 1)
    best = [one[0].score for one in hits]
    assert list(found[:, 0]) == best
    assert list(found[:, 1]) == [float(score == max(best)) for score in best]
    assert sum(found[:, 1]) == 1.0


def test_gain_is_the_sum_with_the_stem_less_the_sum_without(index: FolderIndex) -> None:
    def log_sum(query: str) -> float:
        (hits,) = index.search([query], 9)
        # Passages without a word of the query add exp(0) each.
        return math.log(len(PASSAGES) + sum(math.exp(hit.score) for hit in hits))

    expected = [log_sum(f"{STEM} {option}") - log_sum(option) for option in OPTIONS]
    assert values(index, "gain") == pytest.approx(expected)


def test_question_best_leaves_explanations_out(index: FolderIndex) -> None:
    hits = index.search([f"{STEM} {option}" for option in OPTIONS], 1, "question")
    assert values(index, "question best") == [found[0].score for found in hits]
    assert values(index, "question best") != values(index, "best")


def test_answers_of_the_nearest_passages_vote_by_their_words(index: FolderIndex) -> None:
    protamine, vitamin, digoxin = values(index, "answers", "Treatment of heparin overdose")
    assert 0.25 < protamine < 0.5  # one of its two words, in the nearest of two passages
    assert vitamin == digoxin == 0.0


def test_wrong_options_of_the_nearest_passages_vote(index: FolderIndex) -> None:
    protamine, vitamin, digoxin = values(index, "wrong options", "Treatment of heparin overdose")
    assert vitamin > digoxin > protamine == 0.0


def test_explanations_of_the_nearest_passages_vote(index: FolderIndex) -> None:
    protamine, vitamin, digoxin = values(index, "explanations", "What does heparin act on")
    assert protamine == digoxin > vitamin == 0.0


def test_sentence_with_stem_and_option_counts(index: FolderIndex) -> None:
    protamine, vitamin, digoxin = values(index, "sentence")
    # "Its antidote is protamine sulphate." has one of the stem's four words, and all of the option.
    assert protamine == pytest.approx(1 / 4)
    assert vitamin == digoxin == 0.0


def test_excluded_passages_count_nowhere(index: FolderIndex) -> None:
    left = frozenset({0, 2})
    hits = index.search([f"{STEM} {option}" for option in OPTIONS], 1, excluded=left)
    assert values(index, "best", excluded=left) == [one[0].score for one in hits]
    assert values(index, "answers", excluded=left)[0] == 0.0
    assert values(index, "sentence", excluded=left) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("stem", ["", "zzz", "the of"])
def test_stem_that_finds_nothing(index: FolderIndex, stem: str) -> None:
    found = search_options(index, stem, ["Protamine", "zzz", "?"], ("best", *ALL_FEATURES))
    assert np.isfinite(found).all()
    assert found[1:, 0].tolist() == [0.0, 0.0]


def test_texts_have_no_answers(tmp_path: Path) -> None:
    text = Passage(id="a", text="The antidote of heparin is protamine.", source="guide.txt")
    index = make(tmp_path / "index", [text])
    assert values(index, "answers") == values(index, "wrong options") == [0.0, 0.0, 0.0]
    assert values(index, "explanations") == [0.5, 0.0, 0.0]


def test_long_query_does_not_overflow(index: FolderIndex) -> None:
    stem = " ".join([*(p.full_text for p in PASSAGES)] * 200)
    assert np.isfinite(search_options(index, stem, OPTIONS, ALL_FEATURES)).all()
