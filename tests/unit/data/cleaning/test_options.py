"""Options in one cell, letters before options, several right answers; and what only looks so."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from medtune.core.errors import LabelError
from medtune.core.experiment import ColumnMapping
from medtune.data.cleaning.clean import Cleaned, clean_rows
from medtune.data.cleaning.options import (
    names_several_options,
    split_options,
    strip_answer_mark,
    strip_option_marks,
)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("(a) x (b) y", ["x", "y"]),
        (
            "(a) Adrenaline (b) Atropine (c) None of these",
            ["Adrenaline", "Atropine", "None of these"],
        ),
        ("A. x; B. y", ["x", "y"]),
        ("A. x, with more; B. y; C. z;", ["x, with more", "y", "z"]),
        ("A) x\nB) y\nC) z", ["x", "y", "z"]),
        ("a: x | b: y", ["x", "y"]),
        ("[A] x [B] y", ["x", "y"]),
        ("1) x 2) y 3) z", ["x", "y", "z"]),
        ('["x", "y, z"]', ["x", "y, z"]),
        ("['x', \"y's\"]", ["x", "y's"]),
    ],
)
def test_options_in_one_cell(cell: str, options: list[str]) -> None:
    assert split_options(cell) == options


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "Adrenaline",
        "x; y; z",  # no letters: a list, or one option with semicolons?
        "A. baumannii",
        "(a) only",
        "(a) x (b) y (c) both (a) and (b)",  # named inside an option
        "Vitamin A. x; B. y",
        "A.B. is an abbreviation",
        "[1, 2",
        "[x]",
        "(b) y (a) x",
        "A patient (b) y",
    ],
)
def test_what_only_looks_like_options_in_one_cell(cell: str) -> None:
    assert split_options(cell) is None


def test_parting_is_linear() -> None:
    start = time.thread_time()
    split_options("(a) " * 100_000)
    split_options("(a) x " + "(b) " * 4_000)
    split_options("[" * 19_000)
    assert time.thread_time() - start < 1


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        (["(a) x", "(b) y"], ["x", "y"]),
        (["(a)x", "(b)y"], ["x", "y"]),
        (["A) x", "B) y", "C) z"], ["x", "y", "z"]),
        (["A. Adrenaline", "B. Atropine"], ["Adrenaline", "Atropine"]),
        (["a. x", "b. y"], ["x", "y"]),
        (["[A] x", "[B] y"], ["x", "y"]),
        (["(1) x", "(2) y"], ["x", "y"]),
    ],
)
def test_letters_before_options_are_taken_off(marked: list[str], plain: list[str]) -> None:
    assert strip_option_marks(marked) == plain


@pytest.mark.parametrize(
    "texts",
    [
        ["x", "y"],
        ["(a) x", "y"],  # not all
        ["(a) x", "(c) y"],  # not their own
        ["(a) x", "b) y"],  # not alike
        ["A. baumannii", "B. cereus"],
        ["1. trimester", "2. trimester"],
        ["1. Trimenon", "2. Trimenon"],
        ["A", "B"],
        ["A-V block", "B cells"],
        ["1.5 mg", "2.5 mg"],
        ["(a) x"],
        [],
    ],
)
def test_what_only_looks_like_a_letter_before_an_option(texts: list[str]) -> None:
    assert strip_option_marks(texts) is None


@pytest.mark.parametrize(
    "value", ["A, C", "a;b", "A and C", "B & D", "1;3", "A/B", ["A", "C"], "(A), (B)"]
)
def test_several_right_answers(value: Any) -> None:
    assert names_several_options(value, ("w", "x", "y", "z"))


@pytest.mark.parametrize("value", ["A", "x", "w and x", "1,3", ["A"], None, 3, "A, Z", "AC", "1.5"])
def test_what_only_looks_like_several(value: Any) -> None:
    assert not names_several_options(value, ("w and x", "1,3", "x"))


def test_an_answer_is_read_as_its_option_was() -> None:
    options = ("Adrenaline", "B cells")
    assert strip_answer_mark("(a)", options) == "a"
    assert strip_answer_mark("(a) Adrenaline", options) == "Adrenaline"
    for other in ("(b) Adrenaline", "B cells", "A", 1, None):
        assert strip_answer_mark(other, options) == other


def cleaned(rows: list[dict[str, Any]], columns: ColumnMapping) -> Cleaned:
    return clean_rows([(f"row {n}", row) for n, row in enumerate(rows)], columns, "a.csv")


def test_a_file_of_options_in_one_cell_and_several_answers() -> None:
    rows = [
        {"question": "Which?", "options": "(a) x (b) y", "cop": "(b)"},
        {"question": "What?", "options": json.dumps(["u", "v", "w"]), "cop": "A"},
        {"question": "Why?", "options": "(a) x (b) y (c) z", "cop": "A, C"},
        {"question": "How?", "options": "x or y", "cop": "A"},
    ]
    found = cleaned(rows, ColumnMapping(options=("options",)))
    assert [(q.options, q.answer) for q in found.questions] == [
        (("x", "y"), 1),
        (("u", "v", "w"), 0),
    ]
    assert found.exclusion_counts == {"several right answers": 1, "fewer than 2 options": 1}


def test_letters_before_options_in_columns() -> None:
    row = {
        "question": "Which?",
        "o1": "(a) Adrenaline",
        "o2": "(b) Atropine",
        "cop": "(b) Atropine",
    }
    found = cleaned([row], ColumnMapping(options=("o1", "o2")))
    (question,) = found.questions
    assert (question.options, question.answer) == (("Adrenaline", "Atropine"), 1)
    assert found.normalised["letters before options"] == 2


def test_all_bad_labels_are_told_at_once() -> None:
    rows = [
        {"question": f"{n}?", "o1": "x", "o2": "y", "cop": "ABQ"[n % 3] if n else "A"}
        for n in range(90)
    ]
    with pytest.raises(LabelError) as caught:
        cleaned(rows, ColumnMapping(options=("o1", "o2")))
    assert caught.value.found.startswith("a.csv: 30 answers of 90 cannot be read")
    for line in ("row 2: cop is 'Q'", "row 59: cop is 'Q'", "and 10 more"):
        assert line in caught.value.found
