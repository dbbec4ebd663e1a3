"""Find the passages of open-book prompts for training, leave-one-out, and for its validation.

A training question never sees its own passage, a near-duplicate of itself, or its own explanation
in another question's passage: it would learn to copy what no evaluated question has before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import Progress
from medtune.core.records import Question, SplitDescription
from medtune.data.dedup.canonical_form import canonicalize_text
from medtune.data.snapshot import Snapshot
from medtune.models.open_index import open_index
from medtune.retrieval.evidence import EvidenceFinder, Passages
from medtune.retrieval.index import build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import PassageSource
from medtune.training.passages import (
    TrainingPassages,
    hash_training_passages,
    write_training_passages,
)
from medtune.workflows.leaks import MIN_QUOTED_WORDS, LeakFinder

PASSAGES_FILE = "passages.arrow"
"""File of the passages in a run folder."""
STEMMER = "english"
OPENING_WORDS = 12
"""Words by which an explanation is recognised in another one."""


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
        return EvidenceFinder(open_index(Path(settings.index)), settings)
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
    _counts: dict[str, int] = field(default_factory=lambda: {"left out": 0, "cut": 0})

    @property
    def left_out(self) -> int:
        """Number of passages left out so far, the questions' own not counted."""
        return self._counts["left out"]

    @property
    def cut(self) -> int:
        """Number of passages cut to the most words so far."""
        return self._counts["cut"]

    def find(self, question: Question) -> Passages:
        """Find the passages of every option, in the order given, `[option][rank]`.

        The passage with the question's id is left out, and every hit that leaks the question by
        the verdict that clears training data, or repeats its explanation; the next best passages
        take their places.
        """
        own = self._rows.get(question.id)
        excluded: frozenset[int] = frozenset() if own is None else frozenset([own])
        while True:
            hits = self.evidence.search(question.stem, question.options, excluded)
            rows = {hit.place for row in hits for hit in row}
            leaking = self._leaks.find_leaking(question, rows) | self._find_repeats(question, rows)
            if not leaking:
                found = self.evidence.render(hits, len(question.options))
                self._counts["cut"] += found.cut
                return found.texts
            self._counts["left out"] += len(leaking)
            excluded |= leaking

    def _find_repeats(self, question: Question, rows: Iterable[int]) -> set[int]:
        """Find those of some passages that begin as the question's explanation, or contain that."""
        own = canonicalize_text(question.explanation or "")
        found = set()
        for row in rows:
            other = canonicalize_text(self.evidence.index.passage(row).text)
            a, b = _opening(own), _opening(other)
            if a and b and (a in other or b in own):
                found.add(row)
        return found

    @cached_property
    def _leaks(self) -> LeakFinder:
        return LeakFinder(self.evidence.index)

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Row of each passage by its id."""
        index = self.evidence.index
        return {index.passage(row).id: row for row in range(index.manifest.passages)}


def _opening(text: str) -> str:
    """Return the first words of an explanation; none of one that is too short to be recognised."""
    words = text.split()
    return " ".join(words[:OPENING_WORDS]) if len(words) >= MIN_QUOTED_WORDS else ""


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
    empty = 0

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
        f"passages of {len(questions)} training questions: {search.left_out} left out that give "
        f"their question away, {search.cut} cut to {evidence.settings.words} words, "
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
    return replace(evidence, excluded=frozenset(excluded))
