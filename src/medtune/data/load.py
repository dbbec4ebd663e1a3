"""Load a source as a cleaned split.

Sources that are for training only are refused, unless the caller passes `for_training`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from medtune.core.config import read_columns
from medtune.core.display.frames import make_frame
from medtune.core.display.html import SHOWN_ROWS, render_result
from medtune.core.errors import DataError, did_you_mean
from medtune.core.experiment import ColumnMapping
from medtune.core.progress import NoProgress, Progress
from medtune.core.records import LETTERS, Question, SplitDescription
from medtune.core.run_folder import read_record
from medtune.core.schemas.corrections import CorrectionsManifest
from medtune.core.schemas.dataset import Role, SnapshotManifest, SplitRecord
from medtune.data.arrow_table import QuestionTable, questions_hash, read_parquet
from medtune.data.cleaning.clean import Cleaned, clean_rows
from medtune.data.hash_sampling import order_by_hash
from medtune.data.own_questions import SOURCE, iterate_rows, read_questions
from medtune.data.sources.files import LocatedRow, describe_file_format, find_data_files
from medtune.data.sources.hub_catalogue import KNOWN_DATASETS
from medtune.data.sources.sources import (
    DataRef,
    SourceIdentity,
    identify_source,
    list_splits,
    parse_data_ref,
    read_rows,
    resolve_columns,
)
from medtune.data.training_only import refuse_corrections, training_only_error

MANIFEST_FILE = "manifest.json"
if TYPE_CHECKING:
    import pandas

C = TypeVar("C")
DEFAULT_EVALUATION_SPLITS = ("test", "evaluated", "validation")
"""Default splits for evaluation; the first that exists is used."""


@dataclass(frozen=True, slots=True)
class Split(Sequence[Question]):
    """A cleaned split with its description: a sequence of questions."""

    questions: QuestionTable
    description: SplitDescription
    exclusions: tuple[tuple[str, str], ...]
    """(id or position, reason) of every row that violates the data contract."""
    answer_base: int | None

    def __len__(self) -> int:
        return len(self.questions)

    @overload
    def __getitem__(self, index: int) -> Question: ...
    @overload
    def __getitem__(self, index: slice) -> QuestionTable: ...
    def __getitem__(self, index: int | slice) -> Question | QuestionTable:
        return self.questions[index]

    def __repr__(self) -> str:
        return f"<Split of {len(self):,} questions, {self.description.source}>"

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame with a row for each question.

        Raises:
            MedtuneError: pandas is not installed.
        """
        return make_frame(
            {**question.model_dump(), "options": list(question.options)} for question in self
        )

    def _repr_html_(self) -> str:
        """Show the first questions in a notebook."""
        rows = [
            (q.id, q.stem, " · ".join(q.options), _answer_letter(q), q.subject)
            for q in self[:SHOWN_ROWS]
        ]
        left_out = self.description.excluded
        notes = [f"left out: {n:,} × {reason}" for reason, n in left_out.items()]
        if len(self) > SHOWN_ROWS:
            notes.insert(0, f"the first {SHOWN_ROWS} of {len(self):,}")
        title = f"{len(self):,} questions, {self.description.source}"
        return render_result(title, ("id", "stem", "options", "answer", "subject"), rows, notes)


def _answer_letter(question: Question) -> str | None:
    return None if question.answer is None else LETTERS[question.answer]


def load_questions(
    source: str | Path | Sequence[Question | Mapping[str, Any]],
    *,
    limit: int | None = None,
    columns: ColumnMapping | Mapping[str, Any] | None = None,
    for_training: bool = False,
    progress: Progress | None = None,
) -> Split:
    """Load questions: from a file, the Hub, the starter set or a snapshot, or from Python.

    Args:
        source: starter:, hub:, file: or snapshot:, with or without a split; a path; or questions,
            each a `Question` or a dict with stem, options and answer; or a data frame of these.
        limit: Keep only this many first questions.
        columns: Mapping of the columns of a file or a data frame, or of the keys of dicts, where
            medtune cannot know them, such as
            `{"stem": "question", "options": ["A", "B", "C"], "answer": "key"}`.
        for_training: Whether the questions train a model or are few-shot examples.
        progress: Progress to report to.

    Raises:
        DataError: The source cannot be used, holds fewer than `limit` questions, or is for
            training only.
    """
    own = read_columns(columns)
    is_mapped = own is not None and own != ColumnMapping()
    if is_mapped and not takes_columns(source):
        raise DataError(
            "columns, and questions that are Question objects already",
            expected="columns of a file, of a data frame or of dicts",
            fix="leave columns out",
        )
    base = None
    if isinstance(source, Split):
        if limit is None:
            return source
        questions, name = source.questions, source.description.source
        excluded = source.description.excluded
    elif isinstance(source, str | Path):
        return load_split(str(source), own, limit, progress, for_training=for_training)
    elif own is not None and is_mapped:
        rows = (_locate_row(number, row) for number, row in enumerate(iterate_rows(source)))
        cleaned = clean_rows(rows, own, SOURCE)
        questions, name, excluded = cleaned.questions, SOURCE, cleaned.exclusion_counts
        base = cleaned.answer_base
    else:
        questions, name = QuestionTable.from_questions(read_questions(source)), SOURCE
        excluded = {}
    kept = questions if limit is None else limit_size(questions, limit, name)
    return Split(kept, describe_split(name, kept, excluded), (), base)


def takes_columns(source: object) -> bool:
    """Return whether a mapping of columns can apply to a source: it holds no `Question` yet."""
    if isinstance(source, str | Path) or not isinstance(source, Iterable):
        return True
    return not isinstance(source, Split) and not any(isinstance(q, Question) for q in source)


def columns_for(source: object, columns: C, other: object) -> C | None:
    """Return a mapping that is meant for two sources, or None where it can only apply to `other`.

    Args:
        source: The source to load.
        columns: The mapping.
        other: The other source; None for none.
    """
    is_for_other = other is not None and takes_columns(other) and not takes_columns(source)
    return None if is_for_other else columns


def _locate_row(number: int, row: object) -> LocatedRow:
    if not isinstance(row, Mapping):
        raise DataError(
            f"question {number} (counted from 0) is of type {type(row).__name__}",
            expected="a dict, whose keys columns maps",
        )
    cells = {key: list(cell) if isinstance(cell, tuple) else cell for key, cell in row.items()}
    return f"question {number} (counted from 0)", cells


def load_split(
    source: str,
    columns: ColumnMapping | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    *,
    for_training: bool = False,
) -> Split:
    """Load one split: read and clean it.

    Args:
        source: starter:, hub:, file: or snapshot:, with or without a split.
        columns: Mapping for sources that medtune does not know.
        size: Keep only this many first questions after cleaning.
        progress: Progress to report to.
        for_training: Whether the questions train a model or are few-shot examples.

    Raises:
        DataError: The source cannot be used, holds fewer than `size` questions, or is for
            training only.
    """
    ref = resolve_split(parse_data_ref(source), for_training=for_training)
    known = columns or ColumnMapping()
    cleaned = clean_source(ref, known, progress or NoProgress(), for_training=for_training)
    questions = cleaned.questions if size is None else limit_size(cleaned.questions, size, str(ref))
    description = describe_split(str(ref), questions, cleaned.exclusion_counts)
    return Split(questions, description, cleaned.excluded, cleaned.answer_base)


def resolve_split(ref: DataRef, *, for_training: bool) -> DataRef:
    """Return the source with its default split, if it names none; a file is used whole.

    For training the default is "train", otherwise "test", the evaluated split of a snapshot, or
    "validation": a train split is never the default for evaluation.

    Raises:
        DataError: There is no default split, or a snapshot has several evaluated splits.
        HubError: The Hub cannot be reached.
    """
    if ref.split is not None or ref.kind == "file":
        return ref
    if for_training:
        return replace(ref, split="train")
    names, possible = _evaluation_splits(ref)
    found = next((name for name in DEFAULT_EVALUATION_SPLITS if name in possible), None)
    if found is None:
        raise DataError(
            f"{ref} names no split to evaluate on",
            expected="one of " + ", ".join(str(replace(ref, split=name)) for name in names),
            fix="name a split that the model was not trained on",
        )
    return replace(ref, split=found)


def _evaluation_splits(ref: DataRef) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all splits of a source, and those that may be a default for evaluation."""
    if ref.kind == "snapshot":
        names = _named_splits(Path(ref.place))
        if all(split.purpose == "training" for split in names.values()):
            raise training_only_error(str(ref), ", ".join(s.file for s in names.values()))
        several = sum(split.role == "evaluated" for split in names.values()) > 1
        return tuple(names), () if several and "evaluated" not in names else tuple(names)
    names_there = list_splits(ref)
    known = KNOWN_DATASETS.get(ref.place)
    unlabelled = known.unlabelled if known else ()
    return names_there, tuple(name for name in names_there if name not in unlabelled)


def clean_source(
    ref: DataRef,
    columns: ColumnMapping,
    progress: Progress,
    store: Path | None = None,
    *,
    for_training: bool = False,
) -> Cleaned:
    """Read a source and apply the data contract; the splits of a snapshot are already clean.

    The mapping is for sources that medtune does not know.  The questions are kept in the Arrow
    file `store`, or in memory without one.

    Raises:
        DataError: The source cannot be used, or is for training only and `for_training` is False.
    """
    if not for_training:
        _refuse_training_only(ref)
    if ref.kind == "snapshot":
        questions = read_parquet(Path(ref.place) / find_snapshot_split(ref).file)
        cleaned = Cleaned(questions, (), None, {}, len(questions))
    else:
        own = resolve_columns(ref, columns)
        log_file_formats(ref, progress)
        with progress.task(f"reading {ref.slug}", None) as task:
            cleaned = clean_rows(read_rows(ref, own.split), own, str(ref), store=store, task=task)
    if not for_training:
        # A file copied out of its snapshot has no manifest beside it, but the same ids.
        refuse_corrections(cleaned.questions.ids, str(ref))
    return cleaned


def log_file_formats(ref: DataRef, progress: Progress) -> None:
    """Report an unusual encoding, delimiter or header of each file of a source."""
    for path in find_data_files(Path(ref.place), ref.split) if ref.kind == "file" else ():
        for note in describe_file_format(path):
            progress.log_message(f"{path}: {note}")


def _refuse_training_only(ref: DataRef) -> None:
    """Refuse files that their manifest marks as training only, before they are read.

    Raises:
        DataError: A file is marked as training only.
    """
    if ref.kind == "snapshot":
        paths = [Path(ref.place) / find_snapshot_split(ref).file]
    elif ref.kind == "file":
        paths = find_data_files(Path(ref.place), ref.split)
    else:
        return
    known = {folder: _read_splits(folder) for folder in {path.parent for path in paths}}
    for path in paths:
        for split in known[path.parent] or ():
            if split.file == path.name and split.purpose == "training":
                raise training_only_error(str(ref), path.name)


def check_limit(size: int) -> None:
    """Check a number of first questions: a negative one would count from the end.

    Raises:
        DataError: It is not a positive whole number.
    """
    if not isinstance(size, Integral) or size < 1:
        raise DataError(f"limit {size!r}", expected="a whole number, 1 or more; None takes all")


def limit_size(
    questions: QuestionTable, size: int, source: str, seed: int | None = None
) -> QuestionTable:
    """Return a sample of `size` questions: random by seed, or the first without a seed.

    Raises:
        DataError: There are fewer questions, or the size is not a positive whole number.
    """
    check_limit(size)
    if size > len(questions):
        raise DataError(
            f"{source} has {len(questions)} usable questions, {size} were asked for",
            fix="ask for fewer, or take all by leaving the size out",
        )
    if seed is None:
        return questions[:size]
    return questions.take(sorted(order_by_hash(seed, questions.ids)[:size]))


def describe_split(
    source: str, questions: QuestionTable, excluded: dict[str, int]
) -> SplitDescription:
    """Describe a split: its size, exclusions and hash."""
    return SplitDescription(
        source=source, n=len(questions), excluded=excluded, hash=questions_hash(questions)
    )


def read_manifest(folder: Path) -> SnapshotManifest:
    """Read a snapshot's manifest.

    Raises:
        DataError: There is no manifest, or it has another version.
    """
    manifest = read_record(folder / MANIFEST_FILE, SnapshotManifest)
    if manifest is None:
        raise DataError(
            f"{folder} holds no snapshot" + (" of this version" if folder.is_dir() else ""),
            expected=(
                f"{MANIFEST_FILE}, as `medtune prepare` writes it into the data folder of a run"
            ),
            fix="prepare the data first: medtune prepare EXPERIMENT",
        )
    return manifest


def source_identity(ref: DataRef) -> SourceIdentity:
    """Return the identity of a source; for a snapshot's split, its hash.

    Raises:
        DataError: The source is missing.
        HubError: The Hub cannot be reached.
    """
    if ref.kind != "snapshot":
        return identify_source(ref)
    content = find_snapshot_split(ref).description.hash
    manifest = read_record(Path(ref.place) / MANIFEST_FILE, SnapshotManifest)
    return SourceIdentity(content, None, manifest.sources[0].licence if manifest else None)


def find_snapshot_split(ref: DataRef) -> SplitRecord:
    """Find the split of `snapshot:FOLDER:SPLIT` by role or by its file's name.

    Raises:
        DataError: There is no snapshot, or no such split in it.
    """
    assert ref.split is not None, "it is settled"
    names = _named_splits(Path(ref.place))
    if ref.split not in names:
        raise DataError(
            f"{ref.place} has no split {ref.split!r}{did_you_mean(ref.split, names)}",
            expected=f"one of {', '.join(names)}",
        )
    return names[ref.split]


def snapshot_roles(folder: Path) -> frozenset[Role]:
    """Return the roles of the splits of a snapshot or of corrections; none if it is neither."""
    return frozenset(split.role for split in _read_splits(folder) or ())


def _named_splits(folder: Path) -> dict[str, SplitRecord]:
    """Return a snapshot's splits by file name, and as "evaluated" if only one is evaluated.

    Raises:
        DataError: There is no snapshot.
    """
    splits = _read_splits(folder) or read_manifest(folder).splits
    names = {split.file.rpartition("-")[0]: split for split in splits}
    evaluated = [split for split in splits if split.role == "evaluated"]
    if len(evaluated) == 1:
        names.setdefault("evaluated", evaluated[0])
    return names


def _read_splits(folder: Path) -> tuple[SplitRecord, ...] | None:
    """Return the splits of a snapshot or of corrections; None if there is neither."""
    path = folder / MANIFEST_FILE
    try:
        manifest = read_record(path, SnapshotManifest) or read_record(path, CorrectionsManifest)
    except OSError:
        return None  # the manifest is a folder, or not readable
    return manifest.splits if manifest is not None else None
