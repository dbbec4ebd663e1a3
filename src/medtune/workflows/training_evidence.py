"""Find the passages of open-book prompts for training, leave-one-out, and for its validation.

A training question never sees its own passage, nor a near-duplicate of itself: it would learn to
copy an answer that no evaluated question has before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import Progress
from medtune.core.records import Question, SplitDescription
from medtune.data.snapshot import Snapshot
from medtune.retrieval.evidence import EvidenceFinder, Passages
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import PassageSource
from medtune.training.passages import (
    TrainingPassages,
    hash_training_passages,
    write_training_passages,
)
from medtune.workflows.leaks import LeakFinder

PASSAGES_FILE = "passages.arrow"
"""File of the passages in a run folder."""
STEMMER = "english"


def open_evidence(
    settings: RetrievalConfig, snapshot: Snapshot, folder: Path, progress: Progress
) -> EvidenceFinder | None:
    """Open the index of an experiment, or build one of the train split; None for a closed book.

    Args:
        settings: The experiment's settings of retrieval.
        snapshot: The experiment's data.
        folder: Folder of the index that is built if the settings name none.
        progress: Progress reports.

    Raises:
        RetrievalError: The folder that the settings name holds no usable index.
        FolderError: The index cannot be written.
    """
    if not settings.is_open_book:
        return None
    if settings.index:
        return EvidenceFinder(FolderIndex.open(Path(settings.index)), settings)
    split = snapshot.train
    source = split.description.source
    licence = snapshot.manifest.sources[0].licence
    passages = passages_from_questions(split.questions, source, licence)
    described = PassageSource(source=source, licence=licence, passages=len(passages))
    return EvidenceFinder(build_index(passages, [described], folder, STEMMER, progress), settings)


@dataclass(frozen=True)
class LeaveOneOutSearch:
    """Searches for the passages of training questions, without those that give an answer away."""

    evidence: EvidenceFinder
    _left_out: dict[str, int] = field(default_factory=lambda: {"near-duplicates": 0})

    @property
    def left_out(self) -> int:
        """Number of near-duplicates left out so far, own passages not counted."""
        return self._left_out["near-duplicates"]

    def find(self, question: Question) -> Passages:
        """Find the passages of every option, in the order given, `[option][rank]`.

        The passage with the question's id is left out, and every hit that leaks the question by
        the verdict that clears training data; the next best passages take their places.
        """
        own = self._rows.get(question.id)
        excluded: frozenset[int] = frozenset() if own is None else frozenset([own])
        while True:
            hits = self.evidence.search(question.stem, question.options, excluded)
            rows = {hit.place for row in hits for hit in row}
            leaking = self._leaks.find_leaking(question, rows)
            if not leaking:
                return self.evidence.render(hits, len(question.options))
            self._left_out["near-duplicates"] += len(leaking)
            excluded |= leaking

    @cached_property
    def _leaks(self) -> LeakFinder:
        return LeakFinder(self.evidence.index)

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Row of each passage by its id."""
        index = self.evidence.index
        return {index.passage(row).id: row for row in range(index.manifest.passages)}


def find_training_passages(
    evidence: EvidenceFinder,
    questions: Sequence[Question],
    data: SplitDescription,
    folder: Path,
    progress: Progress,
) -> TrainingPassages:
    """Find the passages of a train split, or read those that the run folder already has.

    They are found once: they depend neither on the epoch nor on the order of the options, and a
    resumed training reads the same ones.

    Args:
        evidence: Finder of the passages.
        questions: The train split.
        data: Its description.
        folder: The run folder.
        progress: Progress reports.

    Raises:
        FolderError: The folder cannot be written.
    """
    path = folder / PASSAGES_FILE
    if (found := TrainingPassages.read(path, evidence, data)) is not None:
        progress.log_message(f"{path}: still valid")
        return found
    search = LeaveOneOutSearch(evidence)
    cut, empty = evidence.cut, 0

    def find_all() -> Iterator[tuple[Question, Passages]]:
        nonlocal empty
        with progress.task("passages", len(questions)) as task:
            for question in questions:
                passages = search.find(question)
                empty += not any(passages)
                yield question, passages
                task.advance()

    write_training_passages(path, hash_training_passages(evidence, data), find_all())
    progress.log_message(
        f"passages of {len(questions)} training questions: {search.left_out} near-duplicates of "
        f"their questions left out, {evidence.cut - cut} cut to {evidence.settings.words} words, "
        f"{empty} questions without any"
    )
    found = TrainingPassages.read(path, evidence, data)
    assert found is not None, "the file was written above"
    return found


def exclude_leaks(
    evidence: EvidenceFinder, questions: Sequence[Question], progress: Progress
) -> EvidenceFinder:
    """Return a finder without the passages that leak one of the questions.

    Args:
        evidence: Finder of the passages.
        questions: Questions of an evaluation, such as the validation split.
        progress: Progress reports.
    """
    leaks = LeakFinder(evidence.index)
    excluded = set(evidence.excluded)
    with progress.task("leaks", len(questions)) as task:
        for question in questions:
            excluded |= leaks.find_nearest(question).leaking
            task.advance()
    return replace(evidence, excluded=frozenset(excluded), _counts={"cut": 0})
