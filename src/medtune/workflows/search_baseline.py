"""Evaluate a text search in the training questions as a baseline, and keep the evaluations.

A finished evaluation is read again without opening the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medtune.core.errors import InputError, PredictionsError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import read_evaluation, write_evaluation
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    EvaluationRecord,
    Outcome,
    Prediction,
    Question,
    Record,
    SplitDescription,
    content_hash,
)
from medtune.core.run_folder import (
    read_record,
    read_valid_record,
    translate_disk_errors,
    write_record,
)
from medtune.data.snapshot import Snapshot
from medtune.data.sources.sources import parse_data_ref
from medtune.evaluation.exam import SCORING_VERSION, Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import add_search_reference, evaluate_model
from medtune.models.open_index import open_index
from medtune.models.search_model import SearchModel
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import SCORER_FILE, read_index_manifest
from medtune.retrieval.schema import IndexManifest, OptionScorer
from medtune.workflows.build_index import build_snapshot_index, fit_index_scorer
from medtune.workflows.leaks import LEAKS_VERSION, Leaks, find_leaks
from medtune.workflows.search_reference import INDEX_FOLDER, SearchedSplit

LEAKS_FILE = "leaks.json"
"""File of an evaluation of the search, written last: a folder that has it is complete."""


class LeakRecord(Record):
    """Passages that an evaluation of the search left out."""

    inputs: str
    """Hash of the index, its scorer and the questions."""
    excluded: tuple[int, ...]
    """Rows of the passages that leak one of the questions."""


@dataclass(frozen=True, slots=True)
class SnapshotSearch:
    """The searches for the splits of a snapshot that are not trained on."""

    index: Path
    """Folder of the index."""
    splits: Mapping[str, SearchedSplit]
    """By the hash of the split."""

    @property
    def excluded(self) -> frozenset[int]:
        """Rows of the passages that leak a question of any split: no training reads them."""
        return frozenset[int]().union(*(found.excluded for found in self.splits.values()))

    def find_evidence(self, experiment: Experiment) -> EvidenceFinder | None:
        """Return the finder of passages for training prompts; None for a closed book.

        Raises:
            RetrievalError: The index was changed.
        """
        if not experiment.retrieval.is_open_book:
            return None
        return EvidenceFinder(open_index(self.index), experiment.retrieval, self.excluded)

    def add_to_exam(self, exam: Exam, evidence: EvidenceFinder | None) -> Exam:
        """Return an exam with its search baseline and, for an open book, its evidence."""
        found = self.splits[exam.data.hash]
        if evidence is not None:
            evidence = replace(evidence, excluded=found.excluded)
        return replace(exam, search=found.reference, evidence=evidence)


def search_snapshot(
    experiment: Experiment, snapshot: Snapshot, folder: Path, progress: Progress
) -> SnapshotSearch:
    """Search for the questions of every split that is not trained on.

    The index is the one that the experiment names for its open book, or one of the train split,
    which is built in the run folder.

    Args:
        experiment: The experiment.
        snapshot: Its data, which lies in the subfolder data.
        folder: Folder of the run; the evaluations are written to its subfolder eval.
        progress: Progress to report to.

    Raises:
        RetrievalError: The index cannot be used.
        FolderError: The folder cannot be written.
    """
    settings = experiment.retrieval
    if settings.is_open_book and settings.index:
        index = Path(settings.index)
    else:
        index = folder / INDEX_FOLDER
        built = build_snapshot_index(snapshot, index, progress)
        calibration = f"snapshot:{folder / 'data'}:calibration" if snapshot.calibration else None
        fit_index_scorer(built, calibration, weights=False, progress=progress)
    apart = [snapshot.calibration, snapshot.validation if settings.is_open_book else None]
    splits = [(parse_data_ref(s.description.source).slug, s) for s in snapshot.evaluated]
    splits += [(split.role, split) for split in apart if split is not None]
    return SnapshotSearch(
        index,
        {
            split.description.hash: evaluate_search(
                index,
                split.questions,
                split.description,
                folder / "eval" / f"search-{name}",
                progress,
            )
            for name, split in splits
        },
    )


def refuse_open_book(experiment: Experiment, what: str) -> None:
    """Refuse an experiment with passages in its prompts, where they would not be shown.

    Raises:
        InputError: The experiment is open book.
    """
    kind = experiment.retrieval.kind
    if experiment.retrieval.is_open_book:
        raise InputError(
            f'{what} shows no passages, the experiment has retrieval.kind = "{kind}"',
            expected='retrieval.kind = "none"',
            fix="leave retrieval out; in a run they are shown: medtune run",
        )


def evaluate_search(
    index: Path,
    questions: Sequence[Question],
    data: SplitDescription,
    folder: Path,
    progress: Progress,
) -> SearchedSplit:
    """Search for every question and write the evaluation, or reuse the one in the folder.

    Args:
        index: Folder of a passage index; the passages that leak a question are left out.
        questions: Labelled questions.
        data: Their description.
        folder: Folder of the evaluation, labelled "search".
        progress: Progress to report to.

    Raises:
        RetrievalError: The folder holds no usable index.
        FolderError: The folder cannot be written.
    """
    manifest = read_index_manifest(index)
    scorer = read_record(index / SCORER_FILE, OptionScorer)
    inputs = content_hash(
        [
            (LEAKS_VERSION, SCORING_VERSION),
            manifest.hash,
            scorer.model_dump(mode="json") if scorer is not None else None,
            data.hash,
        ]
    )
    if found := _find_search(manifest, inputs, folder, progress):
        return found
    with translate_disk_errors(folder):
        (folder / LEAKS_FILE).unlink(missing_ok=True)
    model = SearchModel.open(f"search:{index}")
    leaks = find_leaks(model.index, questions, progress)
    exam = Exam.for_likelihood(questions, data, PromptStyle(), "letter")
    record, predictions = evaluate_model(
        model.without(leaks.excluded), exam, "search", STRICT_PARSER, progress
    )
    searched = _gather(manifest, leaks, record, predictions)
    record, predictions = add_search_reference(
        replace(exam, search=searched.reference), record, predictions
    )
    write_evaluation(folder, record, predictions)
    left_out = LeakRecord(inputs=inputs, excluded=tuple(sorted(leaks.excluded)))
    write_record(folder / LEAKS_FILE, left_out)
    return searched


def _find_search(
    manifest: IndexManifest, inputs: str, folder: Path, progress: Progress
) -> SearchedSplit | None:
    """Read the evaluation in a folder if its inputs are the same."""
    leaks = read_valid_record(folder / LEAKS_FILE, LeakRecord, inputs)
    if leaks is None:
        return None
    try:
        record, predictions = read_evaluation(folder)
    except PredictionsError as error:
        progress.log_message(f"{error.found}: searched again")
        return None
    similarity = tuple(p.similarity or 0.0 for p in predictions)
    found = Leaks(frozenset(leaks.excluded), similarity)
    return _gather(manifest, found, record, predictions)


def _gather(
    manifest: IndexManifest,
    leaks: Leaks,
    record: EvaluationRecord,
    predictions: Sequence[Prediction],
) -> SearchedSplit:
    right = (p.outcome is Outcome.CORRECT for p in predictions)
    return SearchedSplit.from_answers(manifest, leaks, right, record.model.fingerprint)
