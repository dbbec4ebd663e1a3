"""A spot-check on disk: blind items, the sealed ledger, and one file of marks per reviewer.

`items.csv` and `items.jsonl` may be handed to anybody. `ledger.jsonl` holds keys and readings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from medtune.core.errors import FolderError, InputError, PredictionsError
from medtune.core.predictions_io import read_lines
from medtune.core.records import Record
from medtune.core.run_folder import read_record, write_record, write_text
from medtune.spotcheck.schema import (
    CONSENSUS,
    Choice,
    DrawnItem,
    ParserReviewItem,
    ReviewMark,
    ReviewSample,
    choice_name,
)

ITEMS = "items.jsonl"
LEDGER = "ledger.jsonl"
SAMPLE = "sample.json"
SHEET = "items.csv"
RESULT = "review.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")

R = TypeVar("R", bound=Record)


def jsonl(records: Sequence[Record]) -> str:
    """Write records one a line."""
    return "".join(record.model_dump_json(exclude_defaults=True) + "\n" for record in records)


def text_hash(text: str) -> str:
    """Hash a file's text: sha256, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_sample(
    folder: Path,
    sample: ReviewSample,
    items: Sequence[ParserReviewItem],
    drawn: Sequence[DrawnItem],
) -> None:
    """Write a sample, its record last.

    Raises:
        FolderError: The folder cannot be written, or holds marks of another sample.
    """
    if found := mark_files(folder):
        raise FolderError(
            f"{folder} holds marks of another sample ({found[0].name})",
            fix="choose another folder with --out: marks are never written over",
        )
    write_text(folder / ITEMS, jsonl(items))
    write_text(folder / LEDGER, jsonl(drawn))
    write_record(folder / SAMPLE, sample)


def read_sample(folder: Path) -> ReviewSample:
    """Read a sample's record.

    Raises:
        PredictionsError: The folder holds none.
    """
    sample = read_record(folder / SAMPLE, ReviewSample)
    if sample is None:
        raise PredictionsError(
            f"{folder} holds no sample to review",
            expected=f"{SAMPLE}, {ITEMS} and {LEDGER}, as `medtune review sample` writes them",
        )
    return sample


def read_items(folder: Path, sample: ReviewSample) -> list[ParserReviewItem]:
    """Read what the reviewers see.

    Raises:
        PredictionsError: The file is missing or damaged, or not the one that was drawn.
    """
    return _sealed(folder / ITEMS, ParserReviewItem, sample.items_hash)


def read_ledger(folder: Path, sample: ReviewSample) -> list[DrawnItem]:
    """Read what the reviewers do not see; for scoring only.

    Raises:
        PredictionsError: The file is missing or damaged, or not the one that was drawn.
    """
    return _sealed(folder / LEDGER, DrawnItem, sample.ledger_hash)


def _sealed(path: Path, kind: type[R], sha256: str) -> list[R]:
    lines = read_lines(path)
    if text_hash("".join(f"{line}\n" for line in lines)) != sha256:
        raise PredictionsError(
            f"{path} is not the file that was drawn: its hash differs from {SAMPLE}'s",
            fix="restore it, or draw the sample again with the same --seed",
        )
    return [kind.model_validate_json(line) for line in lines]


def reviewer_name(name: str) -> str:
    """Check a reviewer's name, which becomes part of a file's name.

    Raises:
        InputError: It is empty, too long, taken, or holds other signs.
    """
    name = name.strip()
    if not _NAME.fullmatch(name) or name.casefold() == CONSENSUS:
        raise InputError(
            f"{name!r} cannot be a reviewer's name",
            expected=f'1 to 40 letters, digits, "-" or "_"; not "{CONSENSUS}"',
        )
    return name


def mark_files(folder: Path) -> list[Path]:
    """List the files of marks: filled-in sheets, and what version 0.1 wrote."""
    return sorted([*folder.glob("marks-*.csv"), *folder.glob("marks-*.jsonl")])


def read_marks(path: Path) -> dict[str, Choice]:
    """Read marks by item from a `.jsonl` that version 0.1 wrote; an item's last mark counts.

    Raises:
        PredictionsError: The file is missing, or a line is damaged.
    """
    marks: dict[str, Choice] = {}
    for number, line in enumerate(read_lines(path), 1):
        try:
            mark = ReviewMark.model_validate_json(line)
        except ValidationError as error:
            raise PredictionsError(
                f"{path} line {number} is no mark: {error.errors()[0]['msg']}",
                expected="one JSON object per line with item, reviewer, choice and at",
                fix="remove the line, and mark its item in a sheet",
            ) from error
        marks[mark.item] = mark.choice
    return marks


def check_marks(
    reviewer: str, marks: Mapping[str, Choice], items: Sequence[ParserReviewItem]
) -> None:
    """Make sure that marks are about these items and their options.

    Raises:
        PredictionsError: An item is unknown, or has no such option.
    """
    options = {item.id: len(item.options) for item in items}
    unknown = [item for item in marks if item not in options]
    if unknown:
        raise PredictionsError(
            f"{reviewer}'s marks: {len(unknown)} of {len(marks)} are of items that this sample "
            f"does not hold (first: {unknown[0]})",
            expected="marks of this very sample",
        )
    for item, choice in marks.items():
        if isinstance(choice, int) and choice >= options[item]:
            raise PredictionsError(
                f"{reviewer}'s marks: item {item} is marked {choice_name(choice)}, "
                f"but has {options[item]} options"
            )
