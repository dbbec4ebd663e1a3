"""`medtune review sample | serve | score`: how well the parser reads, by people's word.

`sample` draws outputs out of evaluations of free answers, blind, doubtful ones more often.
`serve` shows them one by one and keeps the marks. `score` returns the parser's precision and
recall, what they do to the accuracy, and how far two reviewers agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.analysis.matcher_score import Matcher
from medtune.analysis.review_sample import Source, draw
from medtune.analysis.review_score import disagreements, score_review
from medtune.analysis.review_server import ReviewServer
from medtune.analysis.review_sheet import read_sheet, write_sheet
from medtune.answers import notebook
from medtune.answers.parse import STRICT
from medtune.core.errors import PredictionsError
from medtune.core.folder import locked, read_record, write_record, write_text
from medtune.core.ledger import read_evaluation
from medtune.core.progress import Progress
from medtune.core.review import ADJUDICATOR, ReviewMark, ReviewRecord, ReviewSample
from medtune.core.review_folder import (
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

Marks = dict[str, dict[str, ReviewMark]]


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
    sources = [Source(str(place), *read_evaluation(place)) for place in evaluations]
    held = Source(str(against), *read_evaluation(against)) if against else None
    drawn, items, ledger = draw(sources, n, seed, held)
    found = read_record(folder / SAMPLE, ReviewSample)
    if found is not None and found.inputs == drawn.inputs:
        progress.say(f"{folder}: still valid")
        return found
    with locked(folder):
        write_sample(folder, drawn, items, ledger)
        write_text(folder / SHEET, write_sheet(items))
    return drawn


def serve(
    folder: Path,
    reviewer: str | None,
    port: int,
    progress: Progress,
    disputed: bool = False,
) -> None:
    """Serve the page until it is interrupted.

    Args:
        folder: A sample's.
        reviewer: Whose marks; None lets the page ask.
        port: 0 takes a free one.
        progress: Where to say the address.
        disputed: Show those items only on which the reviewers do not agree.

    Raises:
        PredictionsError: The folder holds no sample, or nothing is disputed.
        InputError: The port or the reviewer's name cannot be used.
        FolderError: The marks cannot be written.
    """
    with open_page(folder, reviewer, port, progress, disputed) as server:
        progress.say(f"review at {server.url}")
        progress.say("only this machine can open it; Ctrl-C ends it, every mark is saved at once")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            progress.say(f"{server.done} of {len(server.items)} marked")
        progress.say(f"go on: medtune review serve {folder}; score: {_command(folder)}")


def open_page(
    folder: Path,
    reviewer: str | None,
    port: int,
    progress: Progress,
    disputed: bool = False,
) -> ReviewServer:
    """Open the page's server, listening but not serving yet; see `serve`."""
    drawn = read_sample(folder)
    items = read_items(folder, drawn)
    shown = None
    if disputed:
        found = _page_marks(folder, progress)
        settling = found.pop(ADJUDICATOR, {})
        split = disagreements(
            {name: {i: m.choice for i, m in said.items()} for name, said in found.items()},
            {item: mark.choice for item, mark in settling.items()},
        )
        if not split:
            raise PredictionsError(
                f"{folder}: no item is disputed", expected="two reviewers who disagree"
            )
        shown = {each.item for each in split}
    server = ReviewServer(folder, items, reviewer, port, _command(folder), shown)
    if server.marks and server.marks.torn:
        progress.say(f"{server.reviewer}: a torn last line was dropped; mark that item again")
    return server


def score(folder: Path, files: Sequence[Path], progress: Progress) -> ReviewRecord:
    """Score a sample's marks; write `review.json`.

    The present parser, where it is another one than the evaluations used, and the notebook's
    matcher are held against the same marks.

    Args:
        folder: A sample's.
        files: Marks as .jsonl, or filled-in sheets as .csv, named after their reviewers; none
            takes all `marks-*.jsonl` of the folder.
        progress: Where to say what was left out.

    Raises:
        PredictionsError: The folder holds no sample; marks are missing, damaged or of another
            sample.
        FolderError: The record cannot be written.
    """
    drawn = read_sample(folder)
    items = read_items(folder, drawn)
    marks = _named_marks(files, progress) if files else _page_marks(folder, progress)
    for reviewer, found in marks.items():
        check_marks(Path(f"{reviewer}'s marks"), list(found.values()), items)
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


def _command(folder: Path) -> str:
    return f"medtune review score {folder}"


def _page_marks(folder: Path, progress: Progress) -> Marks:
    return _named_marks(mark_files(folder), progress)


def _named_marks(files: Sequence[Path], progress: Progress) -> Marks:
    """Read marks by reviewer, the adjudicator's like everybody's."""
    out: Marks = {}
    for path in files:
        reviewer = reviewer_name(path.stem.removeprefix("marks-"))
        if reviewer in out:
            raise PredictionsError(
                f"{path}: {reviewer}'s marks were named before",
                expected="one file per reviewer, named after the reviewer",
            )
        if path.suffix == ".csv":
            out[reviewer] = {mark.item: mark for mark in read_sheet(path, reviewer)}
            continue
        out[reviewer], torn = read_marks(path)
        if torn:
            progress.say(f"{path}: its last line is torn and was left out; all others count")
    return out
