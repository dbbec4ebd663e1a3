from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medtune.core.errors import InputError, PredictionsError
from medtune.spotcheck.folder import (
    check_marks,
    check_reviewer_name,
    list_mark_files,
    read_marks,
    read_sample,
    to_json_lines,
)
from medtune.spotcheck.schema import SpotCheckItem, SpotCheckMark, Stratum, format_choice

ITEMS = [
    SpotCheckItem(id=f"s-{n}", stem="Which?", options=("Yes", "No", "Maybe"), text="No")
    for n in "123"
]


def mark(
    item: str = "s-1", choice: Any = 1, note: str = "", reviewer: str = "anna"
) -> SpotCheckMark:
    return SpotCheckMark(item=item, reviewer=reviewer, choice=choice, note=note, at="2026-01-02")


@pytest.mark.parametrize("choice", [0, 9, "none", "unsure"])
def test_a_choice_is_an_option_or_one_of_two_words(choice: Any) -> None:
    again = SpotCheckMark.model_validate_json(mark(choice=choice).model_dump_json())
    assert again.choice == choice
    assert type(again.choice) is type(choice)


@pytest.mark.parametrize("choice", [-1, 10, None, "A", "0", True, 1.0, "", [1]])
def test_no_other_choice_is_taken(choice: Any) -> None:
    with pytest.raises(ValidationError):
        mark(choice=choice)


def test_choices_are_named_for_people() -> None:
    assert [format_choice(c) for c in (0, 3, "none", "unsure")] == ["A", "D", "none", "unsure"]


def test_a_stratum_cannot_give_more_than_it_has() -> None:
    with pytest.raises(ValidationError, match="3 drawn of 2"):
        Stratum(name="read: letter", read=True, doubtful=False, size=2, drawn=3)


@pytest.mark.parametrize(
    "name", ["", " ", "anna b", "../anna", "-anna", "a" * 41, "Consensus", "ä"]
)
def test_a_reviewers_name_can_be_part_of_a_file_name(name: str) -> None:
    with pytest.raises(InputError, match="cannot be a reviewer's name"):
        check_reviewer_name(name)
    assert check_reviewer_name(" dr_anna-2 ") == "dr_anna-2"


def test_marks_that_version_0_1_wrote_are_read_and_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "marks-anna.jsonl"
    said = [mark(choice=1), mark("s-2", "none", note="ä\u2028\n"), mark(choice="unsure")]
    path.write_text(to_json_lines(said), encoding="utf-8")
    assert list_mark_files(tmp_path) == [path]
    assert read_marks(path) == {"s-1": "unsure", "s-2": "none"}


@pytest.mark.parametrize("end", ["", "\n", "\n{line}\n"])
def test_a_damaged_line_is_named(tmp_path: Path, end: str) -> None:
    path = tmp_path / "marks-anna.jsonl"
    line = mark().model_dump_json()
    path.write_text(f"{line}\n{line[:20]}{end.format(line=line)}")
    with pytest.raises(PredictionsError, match="line 2 is no mark"):
        read_marks(path)


@pytest.mark.parametrize(
    ("item", "choice", "message"),
    [
        ("t-1", 1, r"anna's marks: 1 of 2 are of items .* \(first: t-1\)"),
        ("s-2", 3, "item s-2 is marked D, but has 3 options"),
    ],
)
def test_marks_must_be_of_these_items(item: str, choice: int, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        check_marks("anna", {"s-1": "none", item: choice}, ITEMS)


def test_a_folder_without_a_sample(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="holds no sample to review"):
        read_sample(tmp_path)
