"""Find the passages of open-book prompts for training, leave-one-out, and for its validation.

A training question never sees its own passage, a near-duplicate of itself, or its own explanation
in another question's passage: it would learn to copy what no evaluated question has before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import Progress
from medtune.core.records import Question, SplitDescription
from medtune.data.dedup.canonical_form import canonicalize_text
from medtune.data.snapshot import Snapshot
from medtune.models.open_index import open_index
from medtune.retrieval.evidence import ELLIPSIS, EvidenceFinder, Passages
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import Part, SearchHit
from medtune.training.passages import (
    TrainingPassages,
    hash_training_passages,
    write_training_passages,
)
from medtune.workflows.build_index import build_snapshot_index
from medtune.workflows.leaks import MIN_QUOTED_WORDS, LeakFinder, find_leaks

PASSAGES_FILE = "passages.arrow"
"""File of the passages in a run folder."""
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
    return EvidenceFinder(build_snapshot_index(snapshot, folder, progress), settings)


class LeaveOneOutSearch:
    """Searches for the passages of training questions, without those that give an answer away.

    Args:
        evidence: Finder of the passages.

    Attributes:
        left_out: Number of passages left out so far, the questions' own not counted.
    """

    def __init__(self, evidence: EvidenceFinder) -> None:
        self._evidence, self._index = evidence, evidence.index
        self._leaks = LeakFinder(self._index)
        rows = range(self._index.manifest.passages)
        self._rows = {self._index.passage(row).id: row for row in rows}
        self.left_out = 0

    def find(self, question: Question) -> Passages:
        """Find the passages of every option, in the order given, `[option][rank]`.

        The passage with the question's id is left out, and every hit that leaks the question by
        the verdict that clears training data, or repeats its explanation; the next best passages
        take their places.
        """
        own = self._rows.get(question.id)
        excluded = self._evidence.excluded | ({own} if own is not None else set())
        index = _IndexForQuestion(self._index, lambda rows: self._find_leaking(question, rows))
        finder = EvidenceFinder(index, self._evidence.settings, excluded)
        found = finder.find(question.stem, question.options)
        self.left_out += index.left_out
        return found

    def _find_leaking(self, question: Question, rows: Collection[int]) -> set[int]:
        """Find those of some passages that leak a question, or repeat its explanation.

        An explanation is repeated where its first words stand in the other, either way.
        """
        leaking = {*self._leaks.find_leaking(question, rows)}
        own = canonicalize_text(question.explanation or "")
        for row in rows:
            other = canonicalize_text(self._index.passage(row).text)
            a, b = _opening(own), _opening(other)
            if a and b and (a in other or b in own):
                leaking.add(row)
        return leaking


class _IndexForQuestion:
    """A passage index in which one question finds nothing that gives it away.

    Args:
        index: The whole index.
        find_leaking: Finds those of some rows that may not be found.
    """

    def __init__(
        self, index: PassageIndex, find_leaking: Callable[[Collection[int]], set[int]]
    ) -> None:
        self._index, self._find_leaking = index, find_leaking
        self.manifest = index.manifest
        self.passage = index.passage
        self.left_out = 0

    def search(
        self,
        queries: Sequence[str],
        count: int,
        part: Part = "whole",
        excluded: Collection[int] = (),
    ) -> list[list[SearchHit]]:
        """Search again without what leaks, until nothing does; see `PassageIndex.search`."""
        left_out = {*excluded}
        while True:
            hits = self._index.search(queries, count, part, left_out)
            leaking = self._find_leaking({hit.place for row in hits for hit in row})
            if not leaking:
                return hits
            self.left_out += len(leaking)
            left_out |= leaking


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
    cut = empty = 0

    def find_all() -> Iterator[tuple[Question, Passages]]:
        nonlocal cut, empty
        with progress.task("passages", len(questions)) as task:
            for question in questions:
                passages = search.find(question)
                shown = passages if evidence.per_option else passages[:1]
                cut += sum(text.endswith(ELLIPSIS) for texts in shown for text in texts)
                empty += not any(passages)
                yield question, passages
                task.advance()

    write_training_passages(path, hash_training_passages(evidence, data), find_all())
    progress.log_message(
        f"passages of {len(questions)} training questions: {search.left_out} left out that give "
        f"their question away, {cut} cut to {evidence.settings.words} words, "
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
    excluded = evidence.excluded | find_leaks(evidence.index, questions, progress).excluded
    return EvidenceFinder(evidence.index, evidence.settings, excluded)
