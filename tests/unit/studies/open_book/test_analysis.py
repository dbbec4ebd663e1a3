from __future__ import annotations

import pytest
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import Outcome, Prediction
from medtune.retrieval.schema import IndexManifest
from medtune.studies.open_book.analysis import build_open_book_record
from medtune.studies.open_book.page import render, summarize
from medtune.studies.open_book.schema import BookSetting, OpenBookRecord, SearchedIndex

N = 400
MANIFEST = IndexManifest(
    version=1,
    hash="h" * 64,
    backend="bm25",
    passages=1000,
    sources=(),
    stemmer="english",
    files={},
    size_bytes=1,
    build_s=1.0,
    provenance=collect_provenance(),
)


def similar(given: list[Prediction]) -> list[Prediction]:
    return [p.model_copy(update={"similarity": at / N}) for at, p in enumerate(given)]


def study(closed: float, read: float, search: float) -> OpenBookRecord:
    def found(skill: float, seed: int) -> Evaluation:
        return evaluation("base", similar(predictions(N, skill, seed, cyclic=False)), "cloze")

    settings = {
        BookSetting(model=None, kind="search", share=100): found(search, 1),
        BookSetting(model="path:small", kind="closed"): found(closed, 2),
        BookSetting(model="path:small", kind="per-option", passages=1, share=100): found(read, 3),
        BookSetting(model="path:small", kind="shared", passages=1, share=100): found(closed, 4),
    }
    searched = SearchedIndex(
        inputs="i",
        index="h" * 64,
        passages=1000,
        excluded=(1, 2),
        right=(True,) * N,
        similarity=(0.5,) * N,
    )
    return build_open_book_record(settings, {100: searched}, MANIFEST, 60, 1.0)


def test_a_reader_that_beats_closed_book_but_not_the_search() -> None:
    record = study(0.0, 1.0, 2.0)
    search, closed, per_option, _ = record.points
    assert per_option.over_closed is not None
    assert per_option.over_closed.value == pytest.approx(
        per_option.accuracy.value - closed.accuracy.value
    )
    assert per_option.over_closed.low < per_option.over_closed.value < per_option.over_closed.high
    assert per_option.over_search is not None
    assert per_option.over_search.value < 0
    assert search.over_search is None
    assert (search.indexed, closed.indexed) == (998, None)
    assert "path:small with 1 passage per option, 100 % of the index" in record.verdict
    assert "better than its closed book by +" in record.verdict
    assert "worse than the search alone by -" in record.verdict


def test_nothing_detectable_is_said_so() -> None:
    record = study(0.0, 0.02, 0.0)
    assert "not detectably different from its closed book" in record.verdict
    assert "not detectably different from the search alone" in record.verdict


def test_the_most_similar_tenth_is_left_out() -> None:
    given = [
        p.model_copy(update={"outcome": Outcome.CORRECT if at >= 360 else Outcome.WRONG})
        for at, p in enumerate(similar(predictions(N, 0.0, cyclic=False)))
    ]
    one = evaluation("base", given, "cloze")
    settings = {
        BookSetting(model=None, kind="search", share=100): one,
        BookSetting(model="a", kind="closed"): one,
        BookSetting(model="a", kind="shared", passages=1, share=100): one,
    }
    searched = SearchedIndex(
        inputs="i", index="h", passages=9, excluded=(), right=(), similarity=()
    )
    record = build_open_book_record(settings, {100: searched}, MANIFEST, 60, 1.0)
    for point in record.points:
        assert point.accuracy.value == 0.1
        assert point.less_similar is not None
        assert point.less_similar.value == 0


def test_the_page_and_the_terminal_show_every_setting() -> None:
    record = study(0.0, 1.0, 2.0)
    page = render(record)
    assert page.count("<svg") == 1
    assert "path:small: accuracy by passages, per cent. per-option, 100 % of the index: 0 " in page
    assert "2 of 100 %" in page
    table, left_out, verdict = summarize(record)
    assert not isinstance(table, str)
    assert len(table.rows) == 4
    assert "near-duplicates of the questions: 2 of 100 %" in str(left_out)
    assert verdict == record.verdict
