"""Search the training questions for evaluated ones, without those that leak them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.core.choice import choose_option
from medtune.core.errors import DataError
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question
from medtune.data.arrow_table import QuestionTable
from medtune.data.load import load_split
from medtune.data.sources.sources import parse_data_ref
from medtune.evaluation.exam import SearchReference
from medtune.evaluation.score import score_options
from medtune.models.search_model import SearchModel
from medtune.retrieval.index import MANIFEST_FILE, FolderIndex, PassageIndex
from medtune.retrieval.schema import IndexManifest
from medtune.workflows.leaks import Leaks, find_leaks

INDEX_FOLDER = "index"
"""Name of an index's folder in a snapshot's folder, or beside it in a run folder."""
TRAIN_SPLIT = "train"
COMPARED_PASSAGES = 64
"""Passages that are compared with the train split to recognise its index."""


@dataclass(frozen=True, slots=True)
class SearchedSplit:
    """A search for the questions of one split."""

    reference: SearchReference
    excluded: frozenset[int]
    """Rows of the passages that leak one of the questions."""

    @classmethod
    def from_answers(
        cls,
        manifest: IndexManifest,
        leaks: Leaks,
        right: Iterable[bool],
        fingerprint: str | None,
    ) -> SearchedSplit:
        """Gather what was found.

        Args:
            manifest: Description of the index.
            leaks: Passages that were left out, and the similarity of the others.
            right: Whether the search answers each question right.
            fingerprint: Identity of the search.
        """
        reference = SearchReference(
            index=manifest.hash,
            passages=manifest.passages,
            left_out=len(leaks.excluded),
            right=tuple(right),
            similarity=leaks.similarity,
            fingerprint=fingerprint,
        )
        return cls(reference, leaks.excluded)


def search_without_leaks(
    model: SearchModel, questions: Sequence[Question], progress: Progress
) -> SearchedSplit:
    """Search for every question, after the passages that leak any of them are left out.

    Args:
        model: The search.
        questions: Labelled questions.
        progress: Progress to report to.
    """
    leaks = find_leaks(model.index, questions, progress)
    model = model.without(leaks.excluded)
    right = []
    with progress.task("search", len(questions)) as task:
        for question in questions:
            ((probabilities, _),) = score_options(model, PromptStyle(), "letter", [question])
            chosen = choose_option(probabilities, question.stem, question.options)
            right.append(chosen == question.answer)
            task.advance()
    fingerprint = model.describe().fingerprint
    return SearchedSplit.from_answers(model.index.manifest, leaks, right, fingerprint)


def find_train_index(data: str, progress: Progress) -> Path | None:
    """Find the index of the train split of the snapshot that is evaluated.

    It lies in the snapshot's folder or beside it, as `index`, and is recognised by its passages.

    Args:
        data: Source of the evaluated questions.
        progress: Progress to report to.

    Raises:
        RetrievalError: There is an index that cannot be used.
    """
    ref = parse_data_ref(data)
    if ref.kind != "snapshot" or ref.split == TRAIN_SPLIT:
        return None
    place = Path(ref.place)
    for folder in (place / INDEX_FOLDER, place.resolve().parent / INDEX_FOLDER):
        if not (folder / MANIFEST_FILE).is_file():
            continue
        try:
            train = load_split(f"snapshot:{place}:{TRAIN_SPLIT}", for_training=True).questions
        except DataError:
            return None
        if _is_index_of(FolderIndex.open(folder), train):
            return folder
        progress.log_message(f"{folder} is no index of {ref.place}:{TRAIN_SPLIT}: not searched")
    return None


def _is_index_of(index: PassageIndex, train: QuestionTable) -> bool:
    """Return whether the passages are the labelled questions of a train split, in its order."""
    labelled = [place for place, answer in enumerate(train.answers.tolist()) if answer >= 0]
    count = len(labelled)
    if index.manifest.passages != count:
        return False
    for at in {at * count // COMPARED_PASSAGES for at in range(COMPARED_PASSAGES)} | {count - 1}:
        question, passage = train[labelled[at]], index.passage(at)
        if (passage.question, passage.answer) != (question.stem, question.answer_text):
            return False
    return True
