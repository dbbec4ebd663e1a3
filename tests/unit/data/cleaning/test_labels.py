from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.errors import LabelError
from medtune.core.experiment import ColumnMapping
from medtune.core.records import LETTERS
from medtune.data.cleaning.labels import AnswerCell, AnswerColumn
from medtune.data.sources.files import read_file

FOUR = ("Aspirin", "Morphine", "Codeine", "Heparin")
BLOOD = ("A", "B", "AB", "O")
NUMBERS = ("4", "3", "2", "1")
Form = Literal["index", "letter", "text"]


def read(
    *cells: object,
    options: Sequence[str] = FOUR,
    form: Form | None = None,
    base: Literal[0, 1] | None = None,
) -> tuple[list[int], int | None]:
    """Read the answers to rows that all have the same options; or (cell, options) each."""
    column = AnswerColumn(ColumnMapping(answer="key", answer_form=form, answer_base=base), "a.csv")
    for number, cell in enumerate(cells):
        value, own = cell if isinstance(cell, tuple) else (cell, options)
        column.add(AnswerCell(f"row {number}", value, own))
    answers, found = column.resolve_answers()
    assert answers.dtype == np.int64
    return answers.tolist(), found


def refused(*cells: object, **settings: Any) -> LabelError:
    with pytest.raises(LabelError) as caught:
        read(*cells, **settings)
    return caught.value


# Indices


@pytest.mark.parametrize(
    ("cells", "answers", "base"),
    [
        ((0, 1, 2, 3), [0, 1, 2, 3], 0),
        ((1, 2, 3, 4), [0, 1, 2, 3], 1),
        ((0,), [0], 0),
        ((4,), [3], 1),
        (("0", "3"), [0, 3], 0),
        (("4", "1"), [3, 0], 1),
        ((4, -1, None, "", math.nan, 1), [3, -1, -1, -1, -1, 0], 1),
        # What pandas makes of a column of integers with gaps, in memory and in a CSV.
        ((0.0, 3.0, math.nan), [0, 3, -1], 0),
        (("1.0", "4.0", "-1.0", ""), [0, 3, -1, -1], 1),
        (("1.00", "4.000"), [0, 3], 1),
        ((Decimal("1.00"), Decimal(4)), [0, 3], 1),
        ((b"0", b"3"), [0, 3], 0),
        (("٠", "٣"), [0, 3], 0),
        ((" 0 ", "\u200b3"), [0, 3], 0),
    ],
)
def test_indices_are_read_from_the_base_that_they_prove(
    cells: tuple[object, ...], answers: list[int], base: int
) -> None:
    assert read(*cells) == (answers, base)


def test_the_base_is_proven_by_a_row_with_fewer_options() -> None:
    assert read((2, FOUR), (3, FOUR[:3]), (1, FOUR)) == ([1, 2, 0], 1)


@pytest.mark.parametrize("cells", [(1,), (1, 2, 3), (2, -1), (3.0, "1")])
def test_indices_that_count_from_0_or_from_1_are_not_guessed(cells: tuple[object, ...]) -> None:
    error = refused(*cells)
    known = sum(cell != -1 for cell in cells)
    assert error.found == (
        f"a.csv: key is never 0 and never the number of options in {known} rows, "
        "so it may count from 0 or from 1"
    )
    assert (
        error.fix
        == "say which: answer_base = 0 (or 1) under [data.columns], or --map answer_base=0"
    )
    assert read(*cells, base=0)[0] != read(*cells, base=1)[0]


def test_two_bases_in_one_file_are_named_with_both_places() -> None:
    error = refused(1, 4, 2, 0)
    assert error.found == "a.csv: key is 0 in row 3 and the number of options in row 1"
    assert error.expected == "all answers counted from 0, or all from 1"


@pytest.mark.parametrize("base", [0, 1])
def test_two_bases_in_one_file_are_refused_even_where_a_base_is_said(
    base: Literal[0, 1],
) -> None:
    wrong = {0: "row 1", 1: "row 3"}[base]
    assert refused(1, 4, 2, 0, base=base).found.startswith(f"a.csv {wrong}: key is ")


@pytest.mark.parametrize(
    ("cells", "place", "value"),
    [
        ((0, 5), "row 1", "5"),
        ((4, 5), "row 1", "5"),
        ((0, -2), "row 1", "-2"),
        ((4, -7), "row 1", "-7"),
        ((0, 10**30), "row 1", str(10**30)),
        ((0, -(10**30)), "row 1", str(-(10**30))),
        ((0, 2**62), "row 1", str(2**62)),
        ((0, 1e300), "row 1", "1e+300"),
        ((-2, -3), "row 0", "-2"),
        ((9, 8), "row 0", "9"),
    ],
)
def test_an_index_outside_the_options_is_refused_by_its_first_row(
    cells: tuple[object, ...], place: str, value: str
) -> None:
    found = refused(*cells).found
    assert f"{place}: key is {value}, there are 4 options" in found.splitlines()[-1] or (
        f"  {place}: key is {value}, there are 4 options" in found.splitlines()
    )


@pytest.mark.parametrize("digits", [19, 4300, 100_000])
def test_a_number_of_any_length_is_refused_and_not_shown_whole(digits: int) -> None:
    error = refused("0", "9" * digits)
    assert error.found.startswith("a.csv row 1: key is '9999")
    assert len(error.found) < 150


@pytest.mark.parametrize("value", [True, False, 1.5, math.inf, -math.inf, "1e0", "+1", "0x1", [0]])
def test_what_is_no_whole_number_is_no_index(value: object) -> None:
    error = refused(0, value)
    assert error.found == f"a.csv row 1: key is {value!r}, there are 4 options"
    assert error.expected == "an index, a letter A to D, or an option's text, the same in every row"


def test_a_file_of_pandas_is_read_with_its_gaps(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"key": [0, 3, None]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        cells = [row["key"] for _, row in read_file(tmp_path / name)]
        assert read(*cells) == ([0, 3, -1], 0)


# Letters


@pytest.mark.parametrize("cells", [("A", "C"), ("a", "c"), (" A ", "C\n"), (b"A", b"C")])
def test_letters_are_read_in_either_case(cells: tuple[object, ...]) -> None:
    assert read(*cells) == ([0, 2], None)


def test_a_letter_beyond_a_rows_own_options_is_refused_by_its_row() -> None:
    error = refused(("D", FOUR), ("D", FOUR[:3]))
    assert error.found == "a.csv row 1: key is 'D', there are 3 options"
    assert error.expected.startswith("an index, a letter A to C")


def test_the_tenth_letter_is_the_last() -> None:
    ten = [f"option {n}" for n in range(10)]
    assert read("A", "J", options=ten) == ([0, 9], None)
    assert refused("A", "K", options=ten).found.endswith("key is 'K', there are 10 options")


@pytest.mark.parametrize("value", ["A.", "(A)", "AB", "Option A", "Ａ", "А"])
def test_what_only_looks_like_a_letter_is_not_guessed(value: str) -> None:
    # The last two are a wide and a Cyrillic A.
    assert refused("B", value).found == f"a.csv row 1: key is {value!r}, there are 4 options"


# Texts


@pytest.mark.parametrize(
    "value", ["Codeine", "codeine", "  CODEINE ", "<b>Codeine</b>", "Co\u00addeine", b"codeine"]
)
def test_a_text_is_read_up_to_what_is_tidied_and_case(value: object) -> None:
    assert read(value) == ([2], None)


def test_texts_that_are_letters_of_the_same_options_say_it_twice() -> None:
    assert read("A", "D", options="ABCD") == ([0, 3], None)


def test_letters_that_are_other_options_texts_are_not_guessed() -> None:
    options = ("B", "A", "AB", "O")
    error = refused("A", "B", options=options)
    assert error.found == (
        "a.csv: every key fits in two ways, as letter and as text "
        "(first: 'A' for the options B, A, AB, O)"
    )
    assert error.fix == (
        'say which: answer_form = "letter" (or "text") under [data.columns], '
        "or --map answer_form=letter"
    )
    assert read("A", "B", options=options, form="letter") == ([0, 1], None)
    assert read("A", "B", options=options, form="text") == ([1, 0], None)


def test_one_row_that_fits_one_way_decides_for_all() -> None:
    assert read("A", "B", ("O", BLOOD), options=("B", "A", "AB", "O")) == ([1, 0, 3], None)
    assert read(("A", BLOOD[::-1]), ("C", FOUR)) == ([0, 2], None)


def test_numbers_that_are_other_options_texts_are_not_guessed() -> None:
    error = refused("1", "4", options=NUMBERS)
    assert "fits in two ways, as index and as text" in error.found
    assert read("1", "4", options=NUMBERS, form="text") == ([3, 0], None)
    assert read("1", "4", options=NUMBERS, form="index") == ([0, 3], 1)


@pytest.mark.parametrize("one", [1, 1.0, "1"])
def test_numbers_may_be_meant_as_texts(one: object) -> None:
    # 20 of (10, 20, 30, 40) is no index, however the file writes it.
    assert read(one, options=NUMBERS, form="text") == ([3], None)
    assert read(20, 40.0, options=("10", "20", "30", "40"), form="text") == ([1, 3], None)
    assert read(0.5, 2.5, options=("0.5", "2.5"), form="text") == ([0, 1], None)


def test_minus_one_is_a_text_where_it_is_an_option_and_texts_are_meant() -> None:
    options = ("-2", "-1", "0", "1")
    assert read("-1", -2, -1, options=options, form="text") == ([1, 0, 1], None)
    # Elsewhere it says that the label is not released.
    assert read("-1", "Morphine", form="text") == ([-1, 1], None)
    assert read(-1, 0, options=options, form="index") == ([-1, 0], 0)


def test_a_text_that_is_no_option_is_refused_and_cut_off() -> None:
    error = refused("Aspirin", "x" * 1000)
    assert error.found.startswith("a.csv row 1: key is 'xxx")
    assert len(error.found) < 150


# All together


@pytest.mark.parametrize("form", [None, "index", "letter", "text"])
def test_a_file_without_any_label_is_read(form: Form | None) -> None:
    assert read(None, -1, "", "-1", math.nan, form=form) == ([-1] * 5, None)
    assert read(form=form) == ([], None)


def test_two_forms_in_one_file_are_refused_by_the_row_that_is_the_odd_one() -> None:
    assert refused("A", "B", 2, "C").found == "a.csv row 2: key is 2, there are 4 options"
    assert refused("Codeine", "B", "Aspirin").found.startswith("a.csv row 1: key is 'B'")


@pytest.mark.parametrize(
    ("form", "cells"), [("index", (0, "A")), ("letter", ("A", 0)), ("text", ("Aspirin", "B"))]
)
def test_a_form_that_is_said_is_not_left(form: Form, cells: tuple[object, ...]) -> None:
    assert refused(*cells, form=form).found.startswith("a.csv row 1: key is ")


@given(st.data())
@settings(max_examples=200)
def test_an_answer_is_read_as_its_option_or_refused(data: st.DataObject) -> None:
    """No file is read wrongly: options may be letters, numbers and each other's labels."""
    pool = st.sampled_from([*"ABCDabcd01234", "-1", "Aspirin", "aspirin ", "10", "x"])
    rows = data.draw(
        st.lists(
            st.lists(pool, min_size=2, max_size=5, unique_by=lambda t: t.strip().lower()),
            min_size=1,
            max_size=4,
        )
    )
    right = [data.draw(st.integers(0, len(options) - 1)) for options in rows]
    form: str = data.draw(st.sampled_from(["from 0", "from 1", "letter", "text"]))
    written: dict[str, Any] = {
        "from 0": lambda options, n: n,
        "from 1": lambda options, n: n + 1,
        "letter": lambda options, n: LETTERS[n],
        "text": lambda options, n: options[n],
    }
    cells = [(written[form](options, n), options) for options, n in zip(rows, right, strict=True)]
    said: dict[str, Any] = {
        "from 0": {"form": "index", "base": 0},
        "from 1": {"form": "index", "base": 1},
        "letter": {"form": "letter"},
        "text": {"form": "text"},
    }
    # Told how, every answer is read.
    assert read(*cells, **said[form])[0] == right
    # Not told, it may be refused; what is not refused is right, but for -1 among the options,
    # and where only one other reading of the whole file is left (one row tells little).
    try:
        found, base = read(*cells)
    except LabelError:
        return
    if found != right:
        others = [
            name
            for name, settings in said.items()
            if name != form and _reads(cells, settings, found)
        ]
        assert others or -1 in found
        if form.startswith("from"):
            # JSON's integers are never letters or texts, so only the base could be taken for
            # the other one, which a proof forbids.
            raise AssertionError(f"{cells} were read as {found}, base {base}")


def _reads(cells: list[Any], settings: dict[str, Any], found: list[int]) -> bool:
    try:
        return read(*cells, **settings)[0] == found
    except LabelError:
        return False
