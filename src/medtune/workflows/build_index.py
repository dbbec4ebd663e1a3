"""Build the passage index of a train split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.progress import Progress
from medtune.core.records import Question
from medtune.data.snapshot import Snapshot
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import PassageSource

STEMMER = "english"


def build_snapshot_index(snapshot: Snapshot, folder: Path, progress: Progress) -> FolderIndex:
    """Build the index of a snapshot's train split, or reuse the one in the folder.

    Raises:
        RetrievalError: The index in the folder was changed.
        FolderError: The folder cannot be written.
    """
    return build_question_index(
        snapshot.train.questions,
        snapshot.train.description.source,
        snapshot.manifest.sources[0].licence,
        folder,
        progress,
    )


def build_question_index(
    questions: Sequence[Question],
    source: str,
    licence: str | None,
    folder: Path,
    progress: Progress,
) -> FolderIndex:
    """Build the index of training questions, or reuse the one in the folder.

    Args:
        questions: Questions of a train split.
        source: Their source, as on the command line.
        licence: Licence of the source.
        folder: Folder of the index.
        progress: Progress to report to.

    Raises:
        RetrievalError: There is no labelled question, or the index in the folder was changed.
        FolderError: The folder cannot be written.
    """
    passages = passages_from_questions(questions, source, licence)
    described = PassageSource(source=source, licence=licence, passages=len(passages))
    return build_index(passages, [described], folder, STEMMER, progress)
