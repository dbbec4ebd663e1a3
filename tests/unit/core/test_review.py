from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medtune.core.errors import FolderError, InputError, PredictionsError
from medtune.core.review import ReviewItem, ReviewMark, Stratum, choice_name
from medtune.core.review_folder import (
    MarkFile,
    check_marks,
    mark_files,
    read_marks,
    read_sample,
    reviewer_name,
)

ITEMS = [
    ReviewItem(id=f"s-{n}", stem="Which?", options=("Yes", "No", "Maybe"), text="No") for n in "123"
]


def mark(item: str = "s-1", choice: Any = 1, note: str = "", reviewer: str = "anna") -> ReviewMark:
    return ReviewMark(item=item, reviewer=reviewer, choice=choice, note=note, at="2026-01-02")


@pytest.mark.parametrize("choice", [0, 9, "none", "unsure"])
def test_a_choice_is_an_option_or_one_of_two_words(choice: Any) -> None:
    again = ReviewMark.model_validate_json(mark(choice=choice).model_dump_json())
    assert again.choice == choice
    assert type(again.choice) is type(choice)


@pytest.mark.parametrize("choice", [-1, 10, None, "A", "0", True, 1.0, "", [1]])
def test_no_other_choice_is_taken(choice: Any) -> None:
    with pytest.raises(ValidationError):
        mark(choice=choice)


def test_choices_are_named_for_people() -> None:
    assert [choice_name(c) for c in (0, 3, "none", "unsure")] == ["A", "D", "none", "unsure"]


def test_a_stratum_cannot_give_more_than_it_has() -> None:
    with pytest.raises(ValidationError, match="3 drawn of 2"):
        Stratum(name="read: letter", read=True, doubtful=False, size=2, drawn=3)


@pytest.mark.parametrize(
    "name", ["", " ", "anna b", "../anna", "-anna", "a" * 41, "Consensus", "ä"]
)
def test_a_reviewers_name_can_be_part_of_a_file_name(name: str) -> None:
    with pytest.raises(InputError, match="cannot be a reviewer's name"):
        reviewer_name(name)
    assert reviewer_name(" dr_anna-2 ") == "dr_anna-2"


def test_marks_are_kept_as_they_come_and_the_last_counts(tmp_path: Path) -> None:
    file = MarkFile(tmp_path, "anna", ITEMS)
    file.add(mark(choice=1))
    file.add(mark("s-2", "none", note="ärztlich\u2028\n"))
    assert len(mark_files(tmp_path)[0].read_text().splitlines()) == 2  # before it is closed
    file.add(mark(choice="unsure"))
    file.close()
    found, torn = read_marks(tmp_path / "marks-anna.jsonl")
    assert not torn
    assert {item: each.choice for item, each in found.items()} == {"s-1": "unsure", "s-2": "none"}
    assert found["s-2"].note == "ärztlich\u2028\n"


@pytest.mark.parametrize("cut", [1, 2, 30, 60])
def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path: Path, cut: int) -> None:
    file = MarkFile(tmp_path, "anna", ITEMS)
    for item in ("s-1", "s-2"):
        file.add(mark(item, note="späte Änderung"))
    file.close()
    path = tmp_path / "marks-anna.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = ["s-1", "s-2"] if cut == 1 else ["s-1"]  # without its line's end a mark is still whole
    found, torn = read_marks(path)
    assert (list(found), torn) == (kept, cut > 1)
    again = MarkFile(tmp_path, "anna", ITEMS)
    assert (list(again.marks), again.torn) == (kept, cut > 1)
    again.add(mark("s-3"))
    again.close()
    found, torn = read_marks(path)
    assert (list(found), torn) == ([*kept, "s-3"], False)


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "marks-anna.jsonl"
    line = mark().model_dump_json()
    path.write_text(f"{line}\n{line[:20]}\n{line}\n")
    with pytest.raises(PredictionsError, match="line 2 is no mark"):
        read_marks(path)
    path.write_text(f"{line}\n{line[:20]}\n")  # its end is there: nobody was killed in it
    with pytest.raises(PredictionsError, match="line 2 is no mark"):
        read_marks(path)


def test_two_pages_cannot_write_one_reviewers_marks(tmp_path: Path) -> None:
    first = MarkFile(tmp_path, "anna", ITEMS)
    with pytest.raises(FolderError, match="written by another page"):
        MarkFile(tmp_path, "anna", ITEMS)
    MarkFile(tmp_path, "ben", ITEMS).close()
    first.close()
    MarkFile(tmp_path, "anna", ITEMS).close()


def test_half_a_mark_on_a_full_disk_is_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = MarkFile(tmp_path, "anna", ITEMS)
    file.add(mark())
    inner = file._file

    class Full:
        def write(self, line: bytes) -> int:
            return inner.write(line[:10])

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    monkeypatch.setattr(file, "_file", Full())
    with pytest.raises(FolderError, match="the disk is full"):
        file.add(mark("s-2"))
    monkeypatch.undo()
    assert list(file.marks) == ["s-1"]
    file.add(mark("s-3"))
    file.close()
    assert list(read_marks(tmp_path / "marks-anna.jsonl")[0]) == ["s-1", "s-3"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (mark("t-1"), r"1 of 2 marks are of items .* \(first: t-1\)"),
        (mark("s-2", 3), "item s-2 is marked D, but has 3 options"),
    ],
)
def test_marks_must_be_of_these_items(tmp_path: Path, bad: ReviewMark, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        check_marks(Path("x"), [mark(), bad], ITEMS)
    path = tmp_path / "marks-anna.jsonl"
    path.write_text("".join(json.dumps(m.model_dump()) + "\n" for m in (mark(), bad)))
    for _ in range(2):  # a refused file is let go of
        with pytest.raises(PredictionsError, match=message):
            MarkFile(tmp_path, "anna", ITEMS)


def test_a_folder_without_a_sample(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="holds no sample to review"):
        read_sample(tmp_path)
