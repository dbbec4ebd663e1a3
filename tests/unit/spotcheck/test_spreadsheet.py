from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.errors import PredictionsError
from medtune.spotcheck.schema import SpotCheckItem
from medtune.spotcheck.spreadsheet import format_sheet, read_sheet

ITEMS = [
    SpotCheckItem(id="s-1", stem="Why; how?", options=("Yes", "No"), text='=HYPERLINK("x")\n"B"'),
    SpotCheckItem(id="s-2", stem="-5 or +5?", options=("+5", "-5", "@home"), text="\t1"),
]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def filled(path: Path, *said: str, delimiter: str = ",") -> Path:
    """Fill in the column as a spreadsheet would, and save."""
    table = rows(format_sheet(ITEMS))
    for row, choice in zip(table, said, strict=True):
        row["choice"] = choice
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return path


def test_no_cell_is_a_formula() -> None:
    first, second = rows(format_sheet(ITEMS))
    assert first["output"] == '\'=HYPERLINK("x")\n"B"'
    assert first["question"] == "Why; how?"
    assert (first["A"], first["C"]) == ("Yes", "")
    assert (second["question"], second["A"], second["B"], second["C"], second["output"]) == (
        "'-5 or +5?",
        "'+5",
        "'-5",
        "'@home",
        "'\t1",
    )
    assert {row["choice"] + row["note"] for row in (first, second)} == {""}


@given(st.text(max_size=20), st.text(min_size=1, max_size=20).filter(str.strip))
def test_whatever_a_model_writes_is_inert(text: str, stem: str) -> None:
    item = SpotCheckItem(id="s-1", stem=stem, options=("a", "b"), text=text)
    for row in csv.reader(io.StringIO(format_sheet([item]), newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)


def test_a_sheet_is_blind() -> None:
    assert list(rows(format_sheet(ITEMS))[0]) == [
        *("item", "question", "A", "B", "C", "output", "choice", "note")
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_filled_sheet_is_read(tmp_path: Path, delimiter: str) -> None:
    marks = read_sheet(filled(tmp_path / "anna.csv", " b ", "N", delimiter=delimiter))
    assert marks == {"s-1": 1, "s-2": "none"}


def test_an_empty_choice_is_no_mark(tmp_path: Path) -> None:
    assert read_sheet(filled(tmp_path / "anna.csv", " ", "unsure")) == {"s-2": "unsure"}


@pytest.mark.parametrize("said", ["AB", "1", "K", "?", "yes"])
def test_a_choice_that_is_none_is_named(tmp_path: Path, said: str) -> None:
    with pytest.raises(PredictionsError, match=rf"line \d+: choice '{said}'".replace("?", r"\?")):
        read_sheet(filled(tmp_path / "anna.csv", "A", said))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns none"),
        ("item,verdict\ns-1,A\n", "has the columns item, verdict"),
        ("item,choice\n,A\n", "line 2: a choice without its item"),
    ],
)
def test_a_sheet_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "anna.csv"
    path.write_text(text)
    with pytest.raises(PredictionsError, match=message):
        read_sheet(path)


def test_a_short_row_is_not_marked(tmp_path: Path) -> None:
    path = tmp_path / "anna.csv"
    path.write_text("item,choice,note\ns-1\ns-2,a\n")
    assert read_sheet(path) == {"s-2": 0}
