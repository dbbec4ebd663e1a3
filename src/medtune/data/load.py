"""One source, read and cleaned: the door for everything that wants questions.

Whoever comes through it means to examine, unless they say that they teach: what is for training
only is turned away here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import ColumnMapping
from medtune.core.progress import NoProgress, Progress
from medtune.core.records import SplitDescription
from medtune.core.run_folder import read_record
from medtune.core.schemas.corrections import CorrectionsManifest
from medtune.core.schemas.dataset import SnapshotManifest, SplitRecord
from medtune.data.arrow_table import QuestionTable, questions_hash, read_parquet
from medtune.data.cleaning.clean import Cleaned, clean
from medtune.data.hash_sampling import lowest
from medtune.data.sources.files import files_of, notes_on
from medtune.data.sources.hub_catalogue import KNOWN
from medtune.data.sources.sources import (
    DataRef,
    SourceIdentity,
    columns_of,
    identify,
    parse_ref,
    read_rows,
    splits_of,
)
from medtune.data.training_only import for_training_only, refuse_corrections

MANIFEST = "manifest.json"
EXAMINED = ("test", "evaluated", "validation")
"""Splits that are meant where one to examine on is not named, the first that there is."""


@dataclass(frozen=True, slots=True)
class Split:
    """One cleaned split."""

    questions: QuestionTable
    description: SplitDescription
    exclusions: tuple[tuple[str, str], ...]
    """(id or place, reason) of every row that the contract left out."""
    answer_base: int | None


def load_split(
    source: str,
    columns: ColumnMapping | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    *,
    teaching: bool = False,
) -> Split:
    """Read and clean one split.

    Args:
        source: starter:, hub:, file: or snapshot:; one without a split, see `settled`.
        columns: Mapping for sources that medtune does not know.
        size: Keep the first so many questions after cleaning.
        progress: Where to report.
        teaching: Nothing is examined on these questions: they are learned from, or shown as
            worked examples.

    Raises:
        DataError: The source cannot be used, holds fewer than `size` questions, or is for
            training only.
    """
    ref = settled(parse_ref(source), teaching=teaching)
    known = columns or ColumnMapping()
    cleaned = clean_source(ref, known, progress or NoProgress(), teaching=teaching)
    questions = cleaned.questions if size is None else sized(cleaned.questions, size, str(ref))
    description = describe(str(ref), questions, cleaned.reasons)
    return Split(questions, description, cleaned.excluded, cleaned.answer_base)


def settled(ref: DataRef, *, teaching: bool) -> DataRef:
    """Choose the split of a source that names none; a file is taken whole.

    What a model may have been trained on is never examined because nobody named a split.

    Args:
        ref: The source.
        teaching: Nothing is examined on these questions: "train" is meant. Otherwise it is
            "test", of a snapshot its evaluated split, else "validation".

    Raises:
        DataError: There is none of these, or a snapshot has several evaluated splits.
        HubError: The Hub cannot be reached.
    """
    if ref.split is not None or ref.kind == "file":
        return ref
    if teaching:
        return replace(ref, split="train")
    names, possible = _splits_to_examine(ref)
    found = next((name for name in EXAMINED if name in possible), None)
    if found is None:
        raise DataError(
            f"{ref} names no split to examine on",
            expected="one of " + ", ".join(str(replace(ref, split=name)) for name in names),
            fix="name it; what a model was trained on says nothing of what it knows",
        )
    return replace(ref, split=found)


def _splits_to_examine(ref: DataRef) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List a source's splits, and those that may be meant where none is named."""
    if ref.kind == "snapshot":
        names = _named_splits(Path(ref.place))
        if all(split.purpose == "training" for split in names.values()):
            raise for_training_only(str(ref), ", ".join(s.file for s in names.values()))
        several = sum(split.role == "evaluated" for split in names.values()) > 1
        return tuple(names), () if several and "evaluated" not in names else tuple(names)
    names_there = splits_of(ref)
    known = KNOWN.get(ref.place)
    unlabelled = known.unlabelled if known else ()
    return names_there, tuple(name for name in names_there if name not in unlabelled)


def clean_source(
    ref: DataRef,
    columns: ColumnMapping,
    progress: Progress,
    store: Path | None = None,
    *,
    teaching: bool = False,
) -> Cleaned:
    """Read a source and apply the contract; a snapshot's splits are clean already.

    Args:
        ref: The source.
        columns: Mapping for sources that medtune does not know.
        progress: Where to report.
        store: Arrow file to keep the questions in; None keeps them in memory.
        teaching: Nothing is examined on these questions.

    Raises:
        DataError: The source cannot be used, or is for training only and not to teach with.
    """
    if not teaching:
        _refuse_marked(ref)
    cleaned = _cleaned(ref, columns, progress, store)
    if not teaching:
        # A file that was copied out of its snapshot has no manifest beside it, but the same ids.
        refuse_corrections(cleaned.questions.ids, str(ref))
    return cleaned


def _cleaned(
    ref: DataRef, columns: ColumnMapping, progress: Progress, store: Path | None
) -> Cleaned:
    if ref.kind == "snapshot":
        record = snapshot_split(ref)
        questions = read_parquet(Path(ref.place) / record.file)
        return Cleaned(questions, (), None, {}, len(questions))
    own = columns_of(ref, columns)
    for path in files_of(Path(ref.place), ref.split) if ref.kind == "file" else ():
        for note in notes_on(path):
            progress.say(f"{path}: {note}")
    with progress.task(f"reading {ref.slug}", None) as task:
        return clean(read_rows(ref, own.split), own, str(ref), store=store, task=task)


def _refuse_marked(ref: DataRef) -> None:
    """Refuse what a manifest calls training only, before anything is read.

    Raises:
        DataError: It does.
    """
    if ref.kind == "snapshot":
        paths = [Path(ref.place) / snapshot_split(ref).file]
    elif ref.kind == "file":
        paths = files_of(Path(ref.place), ref.split)
    else:
        return
    known = {folder: _splits_in(folder) for folder in {path.parent for path in paths}}
    for path in paths:
        for split in known[path.parent] or ():
            if split.file == path.name and split.purpose == "training":
                raise for_training_only(str(ref), path.name)


def sized(
    questions: QuestionTable, size: int, source: str, seed: int | None = None
) -> QuestionTable:
    """Take so many questions: by lot, or the first where no seed is given.

    Raises:
        DataError: There are fewer.
    """
    if size > len(questions):
        raise DataError(
            f"{source} has {len(questions)} usable questions, {size} were asked for",
            fix="ask for fewer, or take all by leaving the size out",
        )
    if seed is None:
        return questions[:size]
    return questions.take(sorted(lowest(seed, questions.ids)[:size]))


def describe(source: str, questions: QuestionTable, excluded: dict[str, int]) -> SplitDescription:
    """Describe a split: how many questions, what was left out, and the hash that names it."""
    return SplitDescription(
        source=source, n=len(questions), excluded=excluded, hash=questions_hash(questions)
    )


def read_manifest(folder: Path) -> SnapshotManifest:
    """Read a snapshot's manifest.

    Raises:
        DataError: There is none, or one of another version.
    """
    manifest = read_record(folder / MANIFEST, SnapshotManifest)
    if manifest is None:
        raise DataError(
            f"{folder} holds no snapshot" + (" of this version" if folder.is_dir() else ""),
            expected=f"{MANIFEST}, as `medtune prepare` writes it into the data folder of a run",
            fix="prepare the data first: medtune prepare EXPERIMENT",
        )
    return manifest


def identity(ref: DataRef) -> SourceIdentity:
    """Tell exactly which data a source is; a snapshot's split is named by its hash.

    Raises:
        DataError: The source is missing.
        HubError: The Hub cannot be reached.
    """
    if ref.kind != "snapshot":
        return identify(ref)
    content = snapshot_split(ref).description.hash
    manifest = read_record(Path(ref.place) / MANIFEST, SnapshotManifest)
    return SourceIdentity(content, None, manifest.sources[0].licence if manifest else None)


def snapshot_split(ref: DataRef) -> SplitRecord:
    """Find the split that `snapshot:FOLDER:SPLIT` names: by role or by its file's name.

    Raises:
        DataError: There is no snapshot, or no such split in it.
    """
    assert ref.split is not None, "it is settled"
    names = _named_splits(Path(ref.place))
    if ref.split not in names:
        raise DataError(
            f"{ref.place} has no split {ref.split!r}",
            expected=f"one of {', '.join(names)}",
        )
    return names[ref.split]


def _named_splits(folder: Path) -> dict[str, SplitRecord]:
    """Name a snapshot's splits: by their files, and "evaluated" where only one is.

    Raises:
        DataError: There is no snapshot.
    """
    splits = _splits_in(folder) or read_manifest(folder).splits
    names = {split.file.rpartition("-")[0]: split for split in splits}
    evaluated = [split for split in splits if split.role == "evaluated"]
    if len(evaluated) == 1:
        names.setdefault("evaluated", evaluated[0])
    return names


def _splits_in(folder: Path) -> tuple[SplitRecord, ...] | None:
    """List the splits of a snapshot or of corrections; None where there is neither."""
    path = folder / MANIFEST
    try:
        manifest = read_record(path, SnapshotManifest) or read_record(path, CorrectionsManifest)
    except OSError:
        return None  # somebody's folder of that name, or a file that is not ours to read
    return manifest.splits if manifest is not None else None
