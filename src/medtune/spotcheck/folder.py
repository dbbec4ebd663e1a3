"""A spot-check on disk: blind items, the sealed ledger, and one file of marks per reviewer.

`items.csv` and `items.jsonl` may be given to anybody. `ledger.jsonl` holds the right answers and
the parser's readings, which reviewers must not see.
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
    SpotCheckItem,
    SpotCheckMark,
    SpotCheckSample,
    format_choice,
)

ITEMS_FILE = "items.jsonl"
LEDGER_FILE = "ledger.jsonl"
SAMPLE_FILE = "sample.json"
SHEET_FILE = "items.csv"
RESULT_FILE = "review.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")

R = TypeVar("R", bound=Record)


def to_json_lines(records: Sequence[Record]) -> str:
    """Format records as JSON lines."""
    return "".join(record.model_dump_json(exclude_defaults=True) + "\n" for record in records)


def hash_text(text: str) -> str:
    """Return the sha256 of a text, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_sample(
    folder: Path,
    sample: SpotCheckSample,
    items: Sequence[SpotCheckItem],
    drawn: Sequence[DrawnItem],
) -> None:
    """Write a sample to a folder, its record last.

    Raises:
        FolderError: The folder cannot be written, or holds marks of another sample.
    """
    if found := list_mark_files(folder):
        raise FolderError(
            f"{folder} holds marks of another sample ({found[0].name})",
            fix="choose another folder with --out: marks are never written over",
        )
    write_text(folder / ITEMS_FILE, to_json_lines(items))
    write_text(folder / LEDGER_FILE, to_json_lines(drawn))
    write_record(folder / SAMPLE_FILE, sample)


def read_sample(
    folder: Path,
) -> tuple[SpotCheckSample, list[SpotCheckItem], list[DrawnItem]]:
    """Read a sample's record, its blind items, and their hidden data.

    Raises:
        PredictionsError: The folder holds no sample, or a file is missing, damaged or another one.
    """
    sample = read_record(folder / SAMPLE_FILE, SpotCheckSample)
    if sample is None:
        raise PredictionsError(
            f"{folder} holds no sample to review",
            expected=f"{SAMPLE_FILE}, {ITEMS_FILE} and {LEDGER_FILE}, as `medtune review sample` "
            "writes them",
        )
    items = _read_verified(folder / ITEMS_FILE, SpotCheckItem, sample.items_hash)
    ledger = _read_verified(folder / LEDGER_FILE, DrawnItem, sample.ledger_hash)
    return sample, items, ledger


def _read_verified(path: Path, kind: type[R], sha256: str) -> list[R]:
    lines = read_lines(path)
    if hash_text("".join(f"{line}\n" for line in lines)) != sha256:
        raise PredictionsError(
            f"{path} is not the file that was drawn: its hash differs from {SAMPLE_FILE}'s",
            fix="restore it, or draw the sample again with the same --seed",
        )
    return [kind.model_validate_json(line) for line in lines]


def check_reviewer_name(name: str) -> str:
    """Check and strip a reviewer's name, which is part of a file name.

    Raises:
        InputError: The name is empty, too long, reserved, or has invalid characters.
    """
    name = name.strip()
    if not _NAME.fullmatch(name) or name.casefold() == CONSENSUS:
        raise InputError(
            f"{name!r} cannot be a reviewer's name",
            expected=f'1 to 40 letters, digits, "-" or "_"; not "{CONSENSUS}"',
        )
    return name


def list_mark_files(folder: Path) -> list[Path]:
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
            mark = SpotCheckMark.model_validate_json(line)
        except ValidationError as error:
            raise PredictionsError(
                f"{path} line {number} is no mark: {error.errors()[0]['msg']}",
                expected="one JSON object per line with item, reviewer, choice and at",
                fix="remove the line, and mark its item in a sheet",
            ) from error
        marks[mark.item] = mark.choice
    return marks


def check_marks(reviewer: str, marks: Mapping[str, Choice], items: Sequence[SpotCheckItem]) -> None:
    """Check that marks refer to existing items and options.

    Raises:
        PredictionsError: An item or option does not exist.
    """
    options = {item.id: len(item.options) for item in items}
    unknown = [item for item in marks if item not in options]
    if unknown:
        raise PredictionsError(
            f"{reviewer}'s marks: {len(unknown)} of {len(marks)} are of items that this sample "
            f"does not contain (first: {unknown[0]})",
            expected="marks of this sample",
        )
    for item, choice in marks.items():
        if isinstance(choice, int) and choice >= options[item]:
            raise PredictionsError(
                f"{reviewer}'s marks: item {item} is marked {format_choice(choice)}, "
                f"but has {options[item]} options"
            )
