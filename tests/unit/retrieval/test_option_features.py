from __future__ import annotations

import math

import numpy as np
import pytest
from tests.unit.retrieval.conftest import Build, of_question

from medtune.retrieval.index import FolderIndex
from medtune.retrieval.option_features import ALL_FEATURES, PLAIN_FEATURES, TOP, search_options

OPTIONS = ("Vitamin C", "Thiamine", "Iron")
STEM = "Deficiency in scurvy"


@pytest.fixture
def index(build: Build) -> FolderIndex:
    return build(
        of_question("Scurvy is due to a lack of", "vitamin  c", "Collagen.", "a"),
        of_question("Beriberi is due to a lack of", "Thiamine", "Scurvy is not.", "b"),
        of_question("Anaemia", "Iron", name="c"),
        of_question("Koilonychia", "Iron", name="d"),
    )


def test_each_feature_is_of_an_option(index: FolderIndex) -> None:
    found = search_options(index, STEM, OPTIONS, ALL_FEATURES)
    table = dict(zip(ALL_FEATURES, found.features.T, strict=True))
    assert found.features.shape == (3, len(ALL_FEATURES))
    assert [hits[0].place for hits in found.hits] == [0, 1, 2]
    assert table["best"] == pytest.approx([hits[0].score for hits in found.hits])
    for name, hits in zip(table["mean"], found.hits, strict=True):
        assert name == pytest.approx(math.fsum(hit.score for hit in hits) / TOP)
    # Two searches each: the right answer of row 0, of row 1, of rows 2 and 3.
    assert table["votes"].tolist() == [2, 2, 4]
    assert table["length"] == pytest.approx([math.log1p(len(option)) for option in OPTIONS])
    # Without the explanation, Thiamine's passage says nothing of scurvy.
    assert table["question best"][1] < table["best"][1]
    assert (table["option alone"] > 0).all()


def test_the_best_score_alone_is_that_of_all_features(index: FolderIndex) -> None:
    plain = search_options(index, STEM, OPTIONS, PLAIN_FEATURES)
    every = search_options(index, STEM, OPTIONS, ALL_FEATURES)
    assert plain.features.tolist() == every.features[:, :1].tolist()
    assert plain.hits == every.hits


def test_a_passage_left_out_counts_in_no_feature(index: FolderIndex) -> None:
    found = search_options(index, "", OPTIONS, ALL_FEATURES, excluded={0})
    row = dict(zip(ALL_FEATURES, found.features[0], strict=True))
    assert {name for name, value in row.items() if value} == {"length"}
    assert found.hits[0] == ()


def test_a_search_that_finds_nothing_is_zero(index: FolderIndex) -> None:
    found = search_options(index, "Welches?", ("Eisen", "Zink"), ALL_FEATURES[:-1])
    assert not np.any(found.features)


def test_texts_have_no_right_answers(build: Build) -> None:
    index = build("Scurvy is a lack of vitamin C.", "Iron.")
    table = search_options(index, STEM, OPTIONS, ALL_FEATURES).features
    assert not table[:, ALL_FEATURES.index("votes")].any()
    assert table[:, ALL_FEATURES.index("question best")].tolist() == table[:, 0].tolist()
