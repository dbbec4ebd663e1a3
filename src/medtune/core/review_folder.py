"""A spot-check on disk: blind items, the sealed ledger, and one file of marks per reviewer.

`items.jsonl` may be handed to anybody. `ledger.jsonl` holds keys and readings: the page never
opens it. `marks-NAME.jsonl` only grows; the last mark of an item counts.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TypeVar

from pydantic import ValidationError

from medtune.core.errors import FolderError, InputError, MedtuneError, PredictionsError
from medtune.core.folder import disk_errors, read_record, write_record, write_text
from medtune.core.ledger import read_lines
from medtune.core.records import Record
from medtune.core.review import (
    CONSENSUS,
    DrawnItem,
    ReviewItem,
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
    folder: Path, sample: ReviewSample, items: Sequence[ReviewItem], drawn: Sequence[DrawnItem]
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


def read_items(folder: Path, sample: ReviewSample) -> list[ReviewItem]:
    """Read what the reviewers see.

    Raises:
        PredictionsError: The file is missing or damaged, or not the one that was drawn.
    """
    return _sealed(folder / ITEMS, ReviewItem, sample.items_hash)


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
    """List the files of marks, by name."""
    return sorted(folder.glob("marks-*.jsonl"))


def read_marks(path: Path) -> tuple[dict[str, ReviewMark], bool]:
    """Read a file of marks.

    Returns:
        The last mark of each item, and whether a torn last line was left out: a killed writer
        leaves one, and what it held was never acknowledged.

    Raises:
        PredictionsError: The file is missing, or another line than the last is damaged.
    """
    lines = read_lines(path)
    marks: dict[str, ReviewMark] = {}
    for number, line in enumerate(lines, 1):
        try:
            mark = ReviewMark.model_validate_json(line)
        except ValidationError as error:
            if number == len(lines) and not path.read_bytes().endswith(b"\n"):
                return marks, True
            raise PredictionsError(
                f"{path} line {number} is no mark: {error.errors()[0]['msg']}",
                expected="one JSON object per line, as the page writes them",
                fix="remove the line; its item can be marked again",
            ) from error
        marks[mark.item] = mark
    return marks, False


def check_marks(place: Path, marks: Sequence[ReviewMark], items: Sequence[ReviewItem]) -> None:
    """Make sure that marks are about these items and their options.

    Raises:
        PredictionsError: An item is unknown, or has no such option.
    """
    options = {item.id: len(item.options) for item in items}
    unknown = [mark.item for mark in marks if mark.item not in options]
    if unknown:
        raise PredictionsError(
            f"{place}: {len(unknown)} of {len(marks)} marks are of items that this sample does "
            f"not hold (first: {unknown[0]})",
            expected="marks of this very sample",
        )
    for mark in marks:
        if isinstance(mark.choice, int) and mark.choice >= options[mark.item]:
            raise PredictionsError(
                f"{place}: item {mark.item} is marked {choice_name(mark.choice)}, "
                f"but has {options[mark.item]} options"
            )


class MarkFile:
    """One reviewer's marks, open for more; held against a second writer.

    Raises:
        FolderError: Another process has it open, or the folder cannot be written.
        PredictionsError: What the file holds is damaged, or of another sample.
    """

    def __init__(self, folder: Path, reviewer: str, items: Sequence[ReviewItem]) -> None:
        self._path = folder / f"marks-{reviewer_name(reviewer)}.jsonl"
        with disk_errors(self._path):
            self._file = self._path.open("a+b", buffering=0)
        self._lock = Lock()
        try:
            self._hold()
            self.marks, self.torn = read_marks(self._path)
            check_marks(self._path, list(self.marks.values()), items)
            self._end_line()
        except MedtuneError:
            self._file.close()
            raise

    def add(self, mark: ReviewMark) -> None:
        """Keep a mark: when this returns, it is on the disk.

        Raises:
            FolderError: The disk does not take it.
        """
        # ASCII: a line that is cut anywhere is still UTF-8.
        line = json.dumps(mark.model_dump(exclude_defaults=True)).encode() + b"\n"
        with self._lock, disk_errors(self._path):
            end = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "short write")
                os.fsync(self._file.fileno())
            except OSError:
                # A full disk may take half a line; half a mark is none.
                self._file.truncate(end)
                raise
            self.marks[mark.item] = mark

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderError(
                f"{self._path} is being written by another page",
                fix="go on there, or take another reviewer's name",
            ) from error

    def _end_line(self) -> None:
        """Cut off a torn line, or end a whole one that lacks its end."""
        content = self._path.read_bytes()
        with disk_errors(self._path):
            if self.torn:
                self._file.truncate(content.rfind(b"\n") + 1)
            elif content and not content.endswith(b"\n"):
                self._file.write(b"\n")
