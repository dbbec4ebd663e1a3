"""`medtune review sample | score`: how well the parser reads, by people's word.

`sample` draws outputs out of evaluations of free answers, blind, doubtful ones more often, and
writes a sheet for the reviewers to fill in. `score` returns the parser's precision and recall,
what they do to the accuracy, and how far two reviewers agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.errors import FolderError, PredictionsError
from medtune.core.predictions_io import read_evaluation
from medtune.core.progress import Progress
from medtune.core.run_folder import locked, read_record, write_record, write_text
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.strict import STRICT
from medtune.spotcheck.folder import (
    RESULT,
    SAMPLE,
    SHEET,
    check_marks,
    mark_files,
    read_items,
    read_ledger,
    read_marks,
    read_sample,
    reviewer_name,
    write_sample,
)
from medtune.spotcheck.parser_score import Matcher
from medtune.spotcheck.sampling import EvaluationSource, draw
from medtune.spotcheck.schema import Choice, ReviewRecord, ReviewSample
from medtune.spotcheck.scoring import score_review
from medtune.spotcheck.spreadsheet import read_sheet, write_sheet


def sample(
    evaluations: Sequence[Path],
    n: int,
    seed: int,
    folder: Path,
    progress: Progress,
    against: Path | None = None,
) -> ReviewSample:
    """Draw outputs for review and write the folder, unless it already holds this very sample.

    Raises:
        PredictionsError: An evaluation cannot be read or has no texts, or n does not fit.
        FolderError: The folder cannot be written, or holds marks of another sample.
    """
    sources = [EvaluationSource(str(place), *read_evaluation(place)) for place in evaluations]
    held = EvaluationSource(str(against), *read_evaluation(against)) if against else None
    drawn, items, ledger = draw(sources, n, seed, held)
    found = read_record(folder / SAMPLE, ReviewSample)
    if found is not None and found.inputs == drawn.inputs:
        progress.say(f"{folder}: still valid")
        return found
    sheet = folder / SHEET
    if sheet.exists() and read_sheet(sheet):
        raise FolderError(
            f"{sheet} is filled in, for another sample",
            fix="choose another folder with --out: marks are never written over",
        )
    with locked(folder):
        write_sample(folder, drawn, items, ledger)
        write_text(sheet, write_sheet(items))
    return drawn


def score(folder: Path, files: Sequence[Path]) -> ReviewRecord:
    """Score a sample's marks; write `review.json`.

    The present parser, where it is another one than the evaluations used, and the notebook's
    matcher are held against the same marks.

    Args:
        folder: A sample's.
        files: Filled-in sheets, named after their reviewers; none takes all `marks-*` of the
            folder. Marks as .jsonl, which version 0.1 wrote, are read as well.

    Raises:
        PredictionsError: The folder holds no sample; marks are missing, damaged or of another
            sample.
        FolderError: The record cannot be written.
    """
    drawn = read_sample(folder)
    items = read_items(folder, drawn)
    marks = _marks(files or mark_files(folder))
    for reviewer, found in marks.items():
        check_marks(reviewer, found, items)
    matchers = [
        Matcher(
            "notebook's",
            None,
            lambda item, answer: notebook.match(item.text, item.options[answer]) != "no_match",
        )
    ]
    if drawn.parser != STRICT.version:
        matchers.append(
            Matcher(
                f"parser version {STRICT.version}",
                lambda item: STRICT.read(item.text, item.options).chosen,
                lambda item, answer: STRICT.read(item.text, item.options).chosen == answer,
            )
        )
    record = score_review(str(folder), drawn, items, read_ledger(folder, drawn), marks, matchers)
    write_record(folder / RESULT, record)
    return record


def _marks(files: Sequence[Path]) -> dict[str, dict[str, Choice]]:
    """Read marks by reviewer, the adjudicator's like everybody's."""
    out: dict[str, dict[str, Choice]] = {}
    for path in files:
        reviewer = reviewer_name(path.stem.removeprefix("marks-"))
        if reviewer in out:
            raise PredictionsError(
                f"{path}: {reviewer}'s marks were named before",
                expected="one file per reviewer, named after the reviewer",
            )
        out[reviewer] = read_sheet(path) if path.suffix == ".csv" else read_marks(path)
    return out
