from __future__ import annotations

from typing import Any

import pytest
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.analysis.analyze import analyze_evaluation
from medtune.analysis.compare import compare_evaluations, mcnemar_exact
from medtune.analysis.open_book import open_book_note, search_note
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.records import EvaluationRecord, OpenBook, SearchBaseline


def searched(only_model: int, only_search: int, both: int = 50) -> EvaluationRecord:
    record, _ = evaluation("tuned", predictions(200, 1.0))
    baseline = SearchBaseline(
        index="i" * 64,
        passages=1000,
        accuracy=wilson_interval(both + only_search, 200),
        only_model=only_model,
        only_search=only_search,
        p_value=mcnemar_exact(only_search, only_model),
    )
    right = wilson_interval(both + only_model, 200)
    return record.model_copy(update={"search": baseline, "accuracy": right})


@pytest.mark.parametrize(
    ("only_model", "only_search", "words"),
    [
        (60, 20, "the model beats a text search"),
        (20, 60, "the model does not beat a text search"),
        (31, 30, "the model is not shown to beat a text search"),
    ],
)
def test_the_verdict_follows_the_paired_test(only_model: int, only_search: int, words: str) -> None:
    record = searched(only_model, only_search)
    note = search_note(record)
    assert note is not None
    assert words in note
    assert record.search is not None
    shown = f"{100 * record.accuracy.value:.1f} against {100 * record.search.accuracy.value:.1f} %"
    assert shown in note
    assert "n = 200" in note
    # An analysis warns exactly of a model that is not shown to beat the search.
    found = analyze_evaluation("eval", Evaluation(record, predictions(200, 1.0)))
    assert (note in found.warnings) == ("the model beats" not in note)


def test_a_comparison_says_whether_the_candidate_beats_the_search() -> None:
    given = predictions(200, 1.0)
    base, tuned = searched(20, 60), searched(60, 20)
    assert (
        search_note(tuned)
        == compare_evaluations(Evaluation(base, given), Evaluation(tuned, given)).search_verdict
    )
    assert (
        search_note(base)
        in compare_evaluations(Evaluation(tuned, given), Evaluation(base, given)).notes
    )


def read(**changes: Any) -> EvaluationRecord:
    book = OpenBook(
        kind="per-option",
        index="i" * 64,
        passages=2,
        words=60,
        cut=1234,
        left_out=17,
        less_similar=wilson_interval(70, 180),
    )
    record, _ = evaluation("tuned", predictions(200, 1.0))
    return record.model_copy(update={"open_book": book.model_copy(update=changes)})


def test_an_open_book_stands_beside_its_less_similar_questions() -> None:
    note = open_book_note(read())
    assert note is not None
    assert "38.9 % (32.1–46.2, n = 180) without the most similar tenth" in note
    assert "2 passages of at most 60 words for each option, 1,234 cut to that length." in note
    assert "because they leak a question: 17 passages." in note
    assert "none was found" not in note
    lost = open_book_note(read(without=1, kind="shared", passages=1))
    assert lost is not None
    assert "1 passage of at most 60 words for all options" in lost
    assert "1 question for which none was found" in lost


def test_a_search_shows_no_passages() -> None:
    note = open_book_note(read(kind="search", words=None, passages=1000))
    assert note is not None
    assert "A search in 1,000 passages." in note
    assert "too few questions" in str(open_book_note(read(less_similar=None)))


def test_a_closed_book_without_an_index_has_no_notes() -> None:
    record, _ = evaluation("base", predictions(200, 1.0))
    assert (search_note(record), open_book_note(record)) == (None, None)


def test_another_index_is_a_difference() -> None:
    given = predictions(200, 1.0)
    one, other = read(), read(index="j" * 64)
    assert (
        "passages in the prompt"
        in compare_evaluations(Evaluation(one, given), Evaluation(other, given)).differs
    )
    assert compare_evaluations(Evaluation(one, given), Evaluation(read(), given)).differs == ()
    # A search reads no prompt.
    search = read(kind="search", words=None)
    closed, _ = evaluation("tuned", given)
    assert compare_evaluations(Evaluation(closed, given), Evaluation(search, given)).differs == ()
