from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

from medtune.core.errors import DataError, EmptySplitError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import Question
from medtune.data.load import columns_for, load_questions, load_split
from medtune.data.own_questions import OWN_COLUMNS, read_questions, write_questions

ROW = {"stem": "Which vitamin is lacking in scurvy?", "options": ["A", "B12", "C"], "answer": 2}


@pytest.mark.parametrize(
    ("answer", "index"), [(2, 2), ("B12", 1), ("B", 1), ("C", 2), (None, None)]
)
def test_an_answer_is_an_index_a_letter_or_a_text(answer: object, index: int | None) -> None:
    (question,) = read_questions([ROW | {"answer": answer}])
    assert question.answer == index


def test_an_id_is_made_of_the_content() -> None:
    (first,), (same,) = read_questions([ROW]), read_questions([dict(ROW)])
    (other,) = read_questions([ROW | {"stem": "Another?"}])
    assert first.id == same.id != other.id


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ROW | {"answer": "D"}, "has the answer 'D'"),
        (ROW | {"answer": 3}, "answer 3 is outside the 3 options"),
        (ROW | {"options": "ABC"}, "has the options 'ABC'"),
        (ROW | {"options": ["A", "a"], "answer": 0}, "two options are equal"),
        (ROW | {"stem": ""}, "stem"),
        (ROW | {"colour": "red"}, "colour"),
        (ROW | {0: "red"}, "0: Extra inputs"),
        (ROW | {"stem": {"What?"}}, "stem"),
        (ROW | {"options": [{"A"}, "B"], "answer": 0}, "options.0"),
        ("What?", "is of type str"),
    ],
)
def test_what_is_no_question_is_refused_with_its_place(row: Any, said: str) -> None:
    with pytest.raises(DataError, match=r"question 1 \(counted from 0\)") as caught:
        read_questions([ROW, row])
    assert said in str(caught.value)


@pytest.mark.parametrize("given", [None, ROW, Question(id="q", **ROW), 3])
def test_what_is_no_list_of_questions_is_refused(given: Any) -> None:
    with pytest.raises(DataError, match=f"the questions are of type {type(given).__name__}"):
        load_questions(given)


def test_a_data_frame_is_read_as_its_rows() -> None:
    rows = [ROW, ROW | {"stem": "Another?", "answer": None, "subject": "Nutrition"}]
    frame = load_questions(rows).to_frame()
    assert frame["answer"].isna().any(), "which makes the others floats"
    assert list(load_questions(frame)) == list(load_questions(rows))


MAPPING = {"stem": "Frage", "options": ["a", "b"], "answer": "key", "id": ""}
FOREIGN = [
    {"Frage": "Which?", "a": "Yes", "b": "No", "key": "b"},
    {"Frage": "And?", "a": "Ja", "b": "Nein", "key": "a"},
    {"Frage": "None?", "a": "Ja", "b": "Ja", "key": "a"},
]


@pytest.mark.parametrize("kind", [list, pandas.DataFrame])
def test_columns_map_the_keys_of_dicts_and_of_a_frame(kind: Any) -> None:
    split = load_questions(kind(FOREIGN), columns=MAPPING)
    assert [q.answer_text for q in split] == ["No", "Ja"]
    assert sum(split.description.excluded.values()) == 1
    listed = [
        {"q": "Which?", "all": ("Yes", "No"), "key": 1},
        {"q": "?!", "all": ("1", "2"), "key": 0},
    ]
    found = load_questions(kind(listed), columns={"stem": "q", "options": ["all"], "answer": "key"})
    assert found[0].answer_text == "No"


def test_columns_that_cannot_apply_are_refused() -> None:
    split = load_questions([ROW])
    for source in (split, list(split)):
        with pytest.raises(DataError, match="Question objects already"):
            load_questions(source, columns=MAPPING)
        assert load_questions(source, columns={})[0] == split[0]
    with pytest.raises(DataError, match="lacks the columns Frage, a, b, key"):
        load_questions([ROW], columns=MAPPING)
    with pytest.raises(DataError, match=r"question 1 \(counted from 0\) is of type str"):
        load_questions([FOREIGN[0], "What?"], columns=MAPPING)  # type: ignore[list-item]
    assert columns_for(split, MAPPING, "file.csv") is None
    assert columns_for(split, MAPPING, None) is columns_for("a.csv", MAPPING, split) is MAPPING


@pytest.mark.parametrize("name", ["q.csv", "q.jsonl", "q.parquet"])
@pytest.mark.parametrize("index", [True, False])
def test_a_saved_frame_of_questions_is_read_as_it_was(
    name: str, index: bool, tmp_path: Path
) -> None:
    rows = [ROW, ROW | {"stem": 'It\'s "x"?', "options": ["a's", 'b"s'], "answer": 0}]
    asked, path = load_questions(rows), tmp_path / name
    frame = asked.to_frame()
    if path.suffix == ".csv":
        frame.to_csv(path, index=index)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path, index=index)
    assert list(load_questions(path)) == list(asked)


@pytest.mark.parametrize("limit", [-1, 0, 1.5])
@pytest.mark.parametrize("source", ["starter:recall", [ROW]])
def test_a_limit_is_a_positive_whole_number(source: Any, limit: Any) -> None:
    with pytest.raises(DataError, match=f"limit {limit}"):
        load_questions(source, limit=limit)


def test_no_question_and_an_id_twice_are_refused() -> None:
    with pytest.raises(EmptySplitError, match="there is no question"):
        read_questions([])
    with pytest.raises(DataError, match=r"questions 0 and 1 .* have the id"):
        read_questions([ROW, ROW])


def test_questions_are_a_sequence_with_a_description() -> None:
    split = load_questions([ROW, ROW | {"stem": "Another?"}])
    assert (len(split), split.description.n, split.description.source) == (2, 2, "questions")
    assert isinstance(split[0], Question)
    assert load_questions(split) is split
    assert len(load_questions(split, limit=1)) == 1
    assert split.to_frame()["answer"].tolist() == [2, 2]
    with pytest.raises(DataError, match="has 2 usable questions, 3 were asked for"):
        load_questions(split, limit=3)


def test_markup_in_a_question_is_escaped_in_a_notebook() -> None:
    shown = load_questions([ROW | {"stem": "<script>?"}])._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;?" in shown


def test_written_questions_are_read_as_they_were(tmp_path: Path) -> None:
    asked = load_questions("starter:recall", limit=5)
    path = tmp_path / "q.jsonl"
    write_questions(asked, path)
    assert load_split(f"file:{path}", OWN_COLUMNS).questions == asked.questions
    assert ColumnMapping() != OWN_COLUMNS
