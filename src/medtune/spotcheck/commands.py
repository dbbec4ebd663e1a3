"""Commands `medtune review sample` and `score`: reviewers check the parser's readings.

`draw_spot_check` samples outputs from evaluations of free answers, doubtful ones more often, and
writes a blind sheet for the reviewers to fill in. `score_spot_check` returns the parser's
precision and recall, the accuracy corrected by the marks, and the agreement of the reviewers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.errors import FolderError, PredictionsError
from medtune.core.predictions_io import read_evaluation
from medtune.core.progress import Progress
from medtune.core.run_folder import lock_folder, read_record, write_record, write_text
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.spotcheck.folder import (
    RESULT_FILE,
    SAMPLE_FILE,
    SHEET_FILE,
    check_marks,
    check_reviewer_name,
    list_mark_files,
    read_marks,
    read_sample,
    write_sample,
)
from medtune.spotcheck.parser_score import Matcher
from medtune.spotcheck.sampling import EvaluationSource, draw_sample
from medtune.spotcheck.schema import Choice, SpotCheckRecord, SpotCheckSample
from medtune.spotcheck.scoring import score_marks
from medtune.spotcheck.spreadsheet import format_sheet, read_sheet


def draw_spot_check(
    evaluations: Sequence[Path],
    n: int,
    seed: int,
    folder: Path,
    progress: Progress,
    against: Path | None = None,
) -> SpotCheckSample:
    """Draw a spot check and write its folder, or reuse the folder of the same sample.

    Raises:
        PredictionsError: An evaluation cannot be read or has no texts, or n is out of range.
        FolderError: The folder cannot be written, or holds marks of another sample.
    """
    sources = [EvaluationSource(str(place), *read_evaluation(place)) for place in evaluations]
    scored = EvaluationSource(str(against), *read_evaluation(against)) if against else None
    drawn, items, ledger = draw_sample(sources, n, seed, scored)
    found = read_record(folder / SAMPLE_FILE, SpotCheckSample)
    if found is not None and found.inputs == drawn.inputs:
        progress.log_message(f"{folder}: still valid")
        return found
    sheet = folder / SHEET_FILE
    if sheet.exists() and read_sheet(sheet):
        raise FolderError(
            f"{sheet} is filled in, for another sample",
            fix="choose another folder with --out: marks are never written over",
        )
    with lock_folder(folder):
        write_sample(folder, drawn, items, ledger)
        write_text(sheet, format_sheet(items))
    return drawn


def score_spot_check(folder: Path, files: Sequence[Path]) -> SpotCheckRecord:
    """Score a sample's marks, and write `review.json`.

    The notebook's matcher is scored on the same marks, and so is the current parser, if its version
    is not that of the evaluations.

    The files are filled-in sheets, named after their reviewers; without any, all `marks-*` files of
    the folder. Marks as .jsonl, which version 0.1 wrote, are read as well.

    Raises:
        PredictionsError: The folder holds no sample; marks are missing, damaged or of another
            sample.
        FolderError: The record cannot be written.
    """
    drawn, items, ledger = read_sample(folder)
    marks = _read_all_marks(files or list_mark_files(folder))
    for reviewer, found in marks.items():
        check_marks(reviewer, found, items)
    matchers = [
        Matcher(
            "notebook's",
            None,
            lambda item, answer: (
                notebook.match_output(item.text, item.options[answer]) != "no_match"
            ),
        )
    ]
    if drawn.parser != STRICT_PARSER.version:
        matchers.append(
            Matcher(
                f"parser version {STRICT_PARSER.version}",
                lambda item: STRICT_PARSER.read(item.text, item.options).chosen,
                lambda item, answer: STRICT_PARSER.read(item.text, item.options).chosen == answer,
            )
        )
    record = score_marks(str(folder), drawn, items, ledger, marks, matchers)
    write_record(folder / RESULT_FILE, record)
    return record


def _read_all_marks(files: Sequence[Path]) -> dict[str, dict[str, Choice]]:
    """Read the marks of every reviewer, including the adjudicator."""
    out: dict[str, dict[str, Choice]] = {}
    for path in files:
        reviewer = check_reviewer_name(path.stem.removeprefix("marks-"))
        if reviewer in out:
            raise PredictionsError(
                f"{path}: {reviewer}'s marks were named before",
                expected="one file per reviewer, named after the reviewer",
            )
        out[reviewer] = read_sheet(path) if path.suffix == ".csv" else read_marks(path)
    return out
