from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.errors import DataError, FolderError
from medtune.core.records import Question
from medtune.data.arrow_table import (
    ROWS_PER_BATCH,
    SCHEMA,
    QuestionTable,
    questions_hash,
    read_parquet,
    store_rows,
    write_parquet,
)


def question(n: int, **others: Any) -> Question:
    cells: dict[str, Any] = {
        "id": f"q{n}",
        "stem": f"stem {n}",
        "options": ("a", "b", f"c{n}"),
        "answer": n % 3,
    }
    return Question(**{**cells, **others})


FULL = question(1, subject="S", topic="T", explanation="Because β.", group="G")
BARE = question(2, answer=None)


def cells_of(one: Question) -> dict[str, Any]:
    return one.model_dump(mode="json", exclude={"answer"})


FIVE = [FULL, BARE, *(question(n) for n in (3, 4, 5))]


def table() -> QuestionTable:
    return QuestionTable.from_questions(FIVE)


# A sequence of questions


def test_a_table_gives_back_its_questions() -> None:
    assert len(table()) == 5
    assert list(table()) == FIVE
    assert [table()[n] for n in range(5)] == FIVE
    assert table()[-1] == FIVE[-1]
    assert FULL in table()
    assert table().index(BARE) == 1


@pytest.mark.parametrize("place", [5, -6])
def test_there_is_no_question_beyond_the_last(place: int) -> None:
    with pytest.raises(IndexError):
        table()[place]


@given(
    st.integers(-7, 7) | st.none(),
    st.integers(-7, 7) | st.none(),
    st.sampled_from([None, 1, 2, -1, -3]),
)
def test_a_slice_is_what_a_list_would_give(
    start: int | None, stop: int | None, step: int | None
) -> None:
    assert list(table()[start:stop:step]) == FIVE[start:stop:step]


@given(st.lists(st.integers(0, 4), max_size=8))
def test_questions_are_taken_in_the_order_asked_and_more_than_once(places: list[int]) -> None:
    expected = [FIVE[n] for n in places]
    taken = table().take(places)
    assert list(taken) == expected
    assert [taken[n] for n in range(len(taken))] == expected
    assert taken.ids == [q.id for q in expected]
    assert taken.answers.tolist() == [-1 if q.answer is None else q.answer for q in expected]
    assert taken.read_column("explanation") == [q.explanation for q in expected]


def test_taking_from_what_was_taken_counts_from_there() -> None:
    assert list(table()[1:].take([2, 0])[::-1]) == [FIVE[1], FIVE[3]]


def test_tables_are_equal_where_their_questions_are() -> None:
    assert table() == FIVE
    assert table() == QuestionTable.from_questions(FIVE)
    assert table().take([1, 0])[::-1] == table()[:2]
    assert table() != FIVE[:4]
    assert table() != [*FIVE[:4], question(6)]
    assert table() != 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(table())


def test_an_empty_table_is_a_table() -> None:
    empty = QuestionTable.from_questions([])
    assert (len(empty), list(empty), empty.ids, empty.answers.tolist()) == (0, [], [], [])
    assert list(table()[5:]) == []
    assert table().take([]).answers.dtype == np.int64


def test_more_rows_than_a_batch_are_read_in_order() -> None:
    many = [question(n) for n in range(ROWS_PER_BATCH + 3)]
    shown = QuestionTable.from_questions(many)
    assert list(shown[::-1]) == many[::-1]


def test_answers_beside_the_columns_are_the_answers() -> None:
    stored = store_rows(map(cells_of, FIVE), None)
    made = QuestionTable(stored, np.array([2, -1, 1, 0, 0]), np.array([0, 1, 3]))
    assert [q.answer for q in made] == [2, None, 0]
    assert [made[n].answer for n in range(3)] == [2, None, 0]
    assert made.answers.tolist() == [2, -1, 0]
    assert made.ids == ["q1", "q2", "q4"]


# Writing row by row


@pytest.mark.parametrize("count", [0, 1, ROWS_PER_BATCH, ROWS_PER_BATCH + 1])
@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_added_is_there_when_finished(tmp_path: Path, count: int, on_disk: bool) -> None:
    rows = (cells_of(question(n)) for n in range(count))
    done = store_rows(rows, tmp_path / "a.arrow" if on_disk else None)
    assert done.num_rows == count
    assert done.column("id").to_pylist() == [f"q{n}" for n in range(count)]


def test_a_file_is_closed_when_its_rows_fail(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"

    def failing() -> Iterator[dict[str, Any]]:
        yield cells_of(FULL)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        store_rows(failing(), path)
    assert str(path) not in [file.path for file in psutil.Process().open_files()]


@pytest.mark.parametrize("rows", [1, ROWS_PER_BATCH], ids=["at the end", "on the way"])
def test_a_full_disk_is_told_in_one_sentence(rows: int) -> None:
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("needs a device that is always full")

    long = {**cells_of(FULL), "explanation": "x" * 2000}
    with pytest.raises(FolderError, match="cannot write /dev/full: the disk is full"):
        store_rows([long] * rows, path)


# Parquet

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5).filter(str.strip)


@given(
    st.lists(
        st.builds(
            Question,
            id=TEXT,
            stem=TEXT,
            options=st.just(("a", "b", "c")),
            answer=st.none() | st.integers(0, 2),
            subject=st.none() | st.text(st.characters(codec="utf-8"), max_size=3),
        ),
        max_size=5,
    )
)
@settings(max_examples=50)
def test_parquet_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, questions: list[Question]
) -> None:
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    write_parquet(questions, path)
    assert list(read_parquet(path)) == questions
    assert questions_hash(read_parquet(path)) == questions_hash(questions)


def test_a_missing_and_a_damaged_file_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        read_parquet(path)
    write_parquet(FIVE, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet") as caught:
        read_parquet(path)
    assert caught.value.fix == "prepare the data again"


def test_a_file_with_other_columns_is_refused_with_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"question": ["Which?"]}), path)
    with pytest.raises(DataError) as caught:
        read_parquet(path)
    assert caught.value.found == f"{path} has the columns question"
    assert caught.value.expected == ", ".join(SCHEMA.names)


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    def failing() -> Any:
        yield FULL
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_parquet(failing(), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


# The hash


def test_the_hash_is_that_of_canonical_json_lines() -> None:
    line = (
        '{"answer":1,"explanation":"Because β.","group":"G","id":"q1","options":["a","b","c1"],'
        '"stem":"stem 1","subject":"S","topic":"T"}\n'
    )
    assert questions_hash([FULL]) == hashlib.sha256(line.encode()).hexdigest()
    assert questions_hash([]) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        [BARE, FULL],
        [FULL],
        [FULL, BARE, BARE],
        [FULL, BARE.model_copy(update={"answer": 0})],
        [FULL.model_copy(update={"explanation": None}), BARE],
        [FULL.model_copy(update={"options": ("a", "c1", "b")}), BARE],
    ],
    ids=["order", "fewer", "more", "answer", "explanation", "option order"],
)
def test_the_hash_tells_what_differs(other: list[Question]) -> None:
    assert questions_hash(other) != questions_hash([FULL, BARE])


def test_the_hash_does_not_depend_on_where_questions_are_kept(tmp_path: Path) -> None:
    write_parquet(FIVE, tmp_path / "a.parquet")
    kept = {questions_hash(some) for some in (FIVE, table(), read_parquet(tmp_path / "a.parquet"))}
    assert len(kept) == 1
