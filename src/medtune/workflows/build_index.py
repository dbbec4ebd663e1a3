"""Build a passage index from questions or texts, and fit the scorer of its options."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from medtune.core.errors import DataError, RetrievalError
from medtune.core.experiment import ColumnMapping
from medtune.core.negation import is_negated
from medtune.core.progress import Progress
from medtune.core.records import Question, content_hash
from medtune.core.run_folder import expand_home, translate_disk_errors
from medtune.data.hash_sampling import order_by_hash
from medtune.data.load import (
    Split,
    check_limit,
    find_snapshot_split,
    load_questions,
    load_split,
    resolve_split,
    snapshot_roles,
    source_identity,
)
from medtune.data.snapshot import Snapshot
from medtune.data.sources.documents import Document, find_text_files, read_documents
from medtune.data.sources.sources import parse_data_ref
from medtune.models.open_index import StoredIndex
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.option_features import ALL_FEATURES, PLAIN_FEATURES, search_options
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import FeatureName, OptionScorer, Passage, PassageSource
from medtune.retrieval.scorer import fit_option_scorer
from medtune.retrieval.texts import cut_text
from medtune.workflows.leaks import LeakFinder, find_leaks, passage_question

STEMMER = "english"
WORDS = 120
"""Most words of a passage of a text."""
OWN_QUESTIONS = 2000
"""Questions of an index on which its own scorer is fitted; 4,000 of MedMCQA gave no other weights
(log loss on its validation split 1.1615 and 1.1614)."""
NO_LABEL = "no label"
NO_TEXT = "no text"
EVALUATED = "the same or nearly the same is evaluated"


@dataclass(frozen=True, slots=True)
class IndexContent:
    """Passages of an index to be built, with their sources."""

    passages: list[Passage]
    sources: tuple[PassageSource, ...]
    calibration: str | None = None
    """Calibration split of the snapshot that the questions are from, to fit the scorer on."""


def read_index_content(
    data: str | Path | Sequence[Question | Mapping[str, Any]],
    progress: Progress,
    *,
    columns: ColumnMapping | None = None,
    limit: int | None = None,
    words: int = WORDS,
    licence: str | None = None,
) -> IndexContent:
    """Read the passages of a DATA argument, or of a path of texts.

    Args:
        data: starter:, hub:, file: or snapshot:, whose train split is used; a folder with a
            snapshot; a path, read as questions or as texts by what it holds; or questions.
        progress: Progress to report to.
        columns: Mapping of a file of questions.
        limit: Use only this many first questions, or first passages of texts.
        words: Most words of a passage of a text.
        licence: Licence where the source states none.

    Raises:
        DataError: The source cannot be used.
        RetrievalError: No text, or no labelled question, is left.
    """
    if not isinstance(data, str | Path):
        split = load_questions(data, limit=limit, columns=columns, for_training=True)
        return _as_content(split, split.description.source, licence)
    data = expand_home(str(data))
    path = Path(data)
    if data and columns is None and path.exists():
        for folder in (path, path / "data"):
            if snapshot_roles(folder):
                return _read_questions(f"snapshot:{folder}", progress, None, limit, licence)
        if files := find_text_files(path):
            return _read_texts(path, files, limit, words, licence)
    return _read_questions(data, progress, columns, limit, licence)


def _read_questions(
    data: str,
    progress: Progress,
    columns: ColumnMapping | None,
    limit: int | None,
    licence: str | None,
) -> IndexContent:
    ref = resolve_split(parse_data_ref(data), for_training=True)
    split = load_split(str(ref), columns, limit, progress, for_training=True)
    name, calibration = str(ref), None
    if ref.kind == "snapshot":
        # The source keeps its name where the snapshot is moved.
        name = find_snapshot_split(ref).description.source
        if "calibration" in snapshot_roles(Path(ref.place)):
            calibration = str(replace(ref, split="calibration"))
    licence = source_identity(ref).licence or licence
    return _as_content(split, name, licence, calibration)


def _as_content(
    split: Split, name: str, licence: str | None, calibration: str | None = None
) -> IndexContent:
    passages = passages_from_questions(split.questions, name, licence)
    left_out = Counter(split.description.excluded)
    left_out[NO_LABEL] += len(split.questions) - len(passages)
    if not passages:
        raise RetrievalError(
            f"{split.description.source} has no labelled question",
            expected="questions with their right answers",
        )
    return IndexContent(passages, (_describe(name, licence, len(passages), left_out),), calibration)


def _read_texts(
    path: Path, files: list[Path], limit: int | None, words: int, licence: str | None
) -> IndexContent:
    passages: list[Passage] = []
    left_out: dict[str | None, Counter[str]] = {}
    numbers: dict[str, Iterator[int]] = {}
    for document in read_documents(path, files):
        missing = left_out.setdefault(document.licence or licence, Counter())
        missing[NO_TEXT] += not document.text
        numbered = numbers.setdefault(document.file, count(1))
        passages += _cut_document(document, words, licence, numbered)
    if limit is not None:
        check_limit(limit)
        passages = passages[:limit]
    if not passages:
        raise RetrievalError(
            f"{path} has no text",
            expected="Markdown, plain text, or tables with a column `text`",
        )
    kept = Counter(passage.licence for passage in passages)
    sources = (_describe(str(path), own, kept[own], counts) for own, counts in left_out.items())
    return IndexContent(passages, tuple(sources))


def _cut_document(
    document: Document, words: int, licence: str | None, numbers: Iterator[int]
) -> list[Passage]:
    pieces = cut_text(document.text, words, document.title)
    name = document.id or document.file
    whole = document.id is not None and len(pieces) == 1
    own = count(1) if document.id is not None else numbers
    source = f"{document.file}: {document.title}" if document.title else document.file
    return [
        Passage(
            id=name if whole else f"{name}#{next(own)}",
            text=piece,
            source=source,
            licence=document.licence or licence,
        )
        for piece in pieces
    ]


def _describe(
    source: str, licence: str | None, passages: int, left_out: Counter[str]
) -> PassageSource:
    return PassageSource(
        source=source, licence=licence, passages=passages, left_out=dict(+left_out)
    )


def leave_out_evaluated(
    content: IndexContent,
    evaluated: Sequence[str],
    folder: Path,
    stemmer: str,
    progress: Progress,
) -> IndexContent:
    """Leave out the passages that leak an evaluated question, with counts.

    Args:
        content: The passages.
        evaluated: DATA arguments of evaluated questions.
        folder: Folder that the index will be written to; a first index is built beside it.
        stemmer: Stemmer of the index.
        progress: Progress to report to.

    Raises:
        DataError: A source cannot be used.
        RetrievalError: No passage is left.
    """
    questions = [q for data in evaluated for q in load_split(data, progress=progress).questions]
    with translate_disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.")
    with work as scratch:
        index = build_index(
            content.passages, content.sources, Path(scratch) / "index", stemmer, progress
        )
        leaking = find_leaks(index, questions, progress).excluded
    kept = [p for row, p in enumerate(content.passages) if row not in leaking]
    if not kept:
        raise RetrievalError(
            f"every passage leaks a question of {', '.join(evaluated)}",
            expected="passages that are not evaluated themselves",
        )
    left_out = Counter(content.passages[row].licence for row in leaking)
    sources = tuple(
        source.model_copy(
            update={
                "passages": source.passages - left_out[source.licence],
                "left_out": {**source.left_out, EVALUATED: left_out[source.licence]},
            }
        )
        for source in content.sources
    )
    return replace(content, passages=kept, sources=sources)


def build_train_index(
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


def build_snapshot_index(snapshot: Snapshot, folder: Path, progress: Progress) -> FolderIndex:
    """Build the index of a snapshot's train split; see `build_train_index`."""
    train, licence = snapshot.train, snapshot.manifest.sources[0].licence
    source = train.description.source
    return build_train_index(train.questions, source, licence, folder, progress)


def fit_index_scorer(
    index: StoredIndex, calibration: str | None, weights: bool, progress: Progress
) -> OptionScorer | None:
    """Fit the scorer of an index and write it, unless the same one was written before.

    An index keeps no scorer whose temperature would have to be negative, because the options that
    passages support are mostly wrong: questions that were each left out of their index may be
    about facts that no other question has.

    Args:
        index: The index.
        calibration: DATA to fit on; None fits on a sample of the index's own questions, none of
            which sees itself or a near-duplicate.
        weights: Whether to fit the weights of all features, not a temperature alone.
        progress: Progress to report to.

    Returns:
        The scorer; None if there is nothing to fit it on, because the passages are texts, or if
        it would be refused.

    Raises:
        DataError: The calibration questions cannot be used.
    """
    names = ALL_FEATURES if weights else PLAIN_FEATURES
    if calibration is None:
        questions, own = _sample_own_questions(index)
        source = "the index itself, leave-one-out"
        fitted_on: object = OWN_QUESTIONS
    else:
        split = load_split(calibration, progress=progress)
        questions = [q for q in split.questions if q.answer is not None]
        own, source = [frozenset()] * len(questions), split.description.source
        fitted_on = split.description.hash
        if not questions:
            raise DataError(f"{source} has no labelled question to fit a scorer on")
    inputs = content_hash([index.manifest.hash, names, fitted_on])
    before = index.read_scorer()
    if before is not None and before.inputs == inputs:
        return before
    index.remove_scorer()
    scorer = _fit_scorer(index, questions, own, names, source, progress) if questions else None
    if scorer is None:
        reason = (
            f"what passages support is mostly wrong for the questions of {source}"
            if questions
            else "texts have no questions"
        )
        progress.log_message(
            f"no scorer ({reason}): the confidence is not calibrated; "
            "name questions to fit one on with --calibration DATA"
        )
        return None
    return index.write_scorer(scorer.model_copy(update={"inputs": inputs}))


def _fit_scorer(
    index: StoredIndex,
    questions: Sequence[Question],
    own: Sequence[frozenset[int]],
    names: Sequence[FeatureName],
    source: str,
    progress: Progress,
) -> OptionScorer | None:
    """Fit a scorer; None if its temperature would be negative."""
    leaks = LeakFinder(index)
    computed = (*PLAIN_FEATURES, *(name for name in names if name not in PLAIN_FEATURES))
    features = []
    with progress.task("scorer", len(questions)) as task:
        for question, rows in zip(questions, own, strict=True):
            excluded = leaks.find_nearest(question).leaking | rows
            features.append(
                search_options(index, question.stem, question.options, computed, excluded)
            )
            task.advance()
    answers = [question.answer for question in questions if question.answer is not None]
    negated = [is_negated(question.stem) for question in questions]
    best = [table[:, : len(PLAIN_FEATURES)] for table in features]
    plain = fit_option_scorer(best, answers, negated, PLAIN_FEATURES, source)
    if plain.weights[0] <= 0:
        return None
    if names == PLAIN_FEATURES:
        return plain
    columns = [computed.index(name) for name in names]
    chosen = [table[:, columns] for table in features]
    return fit_option_scorer(chosen, answers, negated, names, source)


def _sample_own_questions(index: StoredIndex) -> tuple[list[Question], list[frozenset[int]]]:
    """Sample questions of an index, with their rows, by a hash of these; texts have none."""
    questions: list[Question] = []
    rows: list[frozenset[int]] = []
    for row in order_by_hash(0, [str(row) for row in range(index.manifest.passages)]):
        question = passage_question(index.passage(row))
        if question is not None:
            questions.append(question)
            rows.append(frozenset({row}))
        if len(questions) == OWN_QUESTIONS:
            break
    return questions, rows
