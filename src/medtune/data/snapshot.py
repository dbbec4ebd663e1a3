"""Snapshots: cleaned, decontaminated and curated splits, identified by a hash.

`data.pipeline` builds a snapshot; this module writes, verifies and reads it.
On disk it is a folder: one parquet file per split with its hash in the name, `excluded.jsonl` with
a reason per id, `datasheet.md`, and `manifest.json`, which is written last: a folder with a
manifest is complete.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import DataConfig
from medtune.core.predictions_io import ANALYSIS_FILE, PREDICTIONS_FILE
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.records import Record, SplitDescription, content_hash
from medtune.core.run_folder import (
    hash_file,
    read_record,
    translate_disk_errors,
    write_record,
    write_text,
)
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.dataset import Role, SnapshotManifest, SplitRecord
from medtune.data.arrow_table import QuestionTable, questions_hash, read_parquet, write_parquet
from medtune.data.counts import count_split
from medtune.data.datasheet import render_snapshot_datasheet
from medtune.data.load import MANIFEST_FILE, describe_split, resolve_split, source_identity
from medtune.data.pipeline import BuiltSnapshot, DataSource, build_snapshot, list_sources
from medtune.data.sources.sources import parse_data_ref
from medtune.data.training_only import infer_purpose

RULES_VERSION = 2
"""Version of the pipeline's rules; a new version makes older snapshots stale."""
EXCLUDED_FILE = "excluded.jsonl"
DATASHEET_FILE = "datasheet.md"
_WORK = ".work-"
_SPLIT_FILE = re.compile(r".+-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True, slots=True)
class SnapshotSplit:
    """A split of a snapshot, ready for use."""

    role: Role
    questions: QuestionTable
    description: SplitDescription


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Splits of an experiment: train, validation, calibration and evaluated."""

    train: SnapshotSplit
    validation: SnapshotSplit | None
    calibration: SnapshotSplit | None
    evaluated: tuple[SnapshotSplit, ...]
    manifest: SnapshotManifest


def prepare_snapshot(data: DataConfig, seed: int, folder: Path, progress: Progress) -> Snapshot:
    """Build a snapshot, or reuse the one in the folder if its inputs are the same.

    The caller holds the lock of the folder.

    Raises:
        DataError: A source cannot be used.
        FolderError: The folder cannot be written.
    """
    sources = list_sources(data)
    inputs = hash_snapshot_inputs(data, seed, sources)
    if found := _find_valid(folder, inputs):
        progress.log_message(f"{folder}: snapshot {found.manifest.hash[:12]} still valid")
        return found
    with _scratch_folder(folder) as work:
        built = build_snapshot(data, seed, sources, work, progress)
        manifest = _write_snapshot(built, folder, inputs, data, seed, progress)
    progress.log_message(f"{folder}: snapshot {manifest.hash[:12]} written")
    return read_snapshot(folder, manifest)


def find_snapshot(data: DataConfig, seed: int, folder: Path) -> Snapshot | None:
    """Return the snapshot in a folder if its inputs are the same; nothing is written.

    Raises:
        DataError: A source cannot be used.
    """
    return _find_valid(folder, hash_snapshot_inputs(data, seed, list_sources(data)))


def _find_valid(folder: Path, inputs: str) -> Snapshot | None:
    manifest = read_record(folder / MANIFEST_FILE, SnapshotManifest)
    if manifest is None or manifest.inputs != inputs or find_faults(folder, manifest):
        return None
    return read_snapshot(folder, manifest)


def read_snapshot(folder: Path, manifest: SnapshotManifest) -> Snapshot:
    """Read the splits of a snapshot.

    Raises:
        DataError: A file is missing or damaged.
    """
    splits = [
        SnapshotSplit(split.role, read_parquet(folder / split.file), split.description)
        for split in manifest.splits
    ]
    cut_off = {split.role: split for split in splits if split.role != "evaluated"}
    return Snapshot(
        train=cut_off["train"],
        validation=cut_off.get("validation"),
        calibration=cut_off.get("calibration"),
        evaluated=tuple(split for split in splits if split.role == "evaluated"),
        manifest=manifest,
    )


def find_faults(folder: Path, manifest: SnapshotManifest) -> list[str]:
    """Verify a snapshot's files against its manifest, by the content of the questions.

    Returns:
        The faults, one line each; empty if the snapshot is intact.
    """
    faults = []
    for split in manifest.splits:
        try:
            questions = read_parquet(folder / split.file)
        except DataError as error:
            faults.append(error.found)
            continue
        if (found := questions_hash(questions)) != split.description.hash:
            faults.append(
                f"{folder / split.file} holds {len(questions)} questions with hash {found[:12]}, "
                f"the manifest names {split.description.n} with {split.description.hash[:12]}"
            )
    if snapshot_hash(manifest.splits) != manifest.hash:
        faults.append(f"{folder / MANIFEST_FILE}: its hash is not that of its splits")
    try:
        found = hash_file(folder / EXCLUDED_FILE)
    except OSError:
        found = "none"
    if found != manifest.excluded_hash:
        faults.append(f"{folder / EXCLUDED_FILE} is missing or was changed")
    return faults


def find_changed_sources(manifest: SnapshotManifest) -> list[str]:
    """Return messages on sources that have changed since the snapshot was built.

    Raises:
        DataError: A source is missing.
        HubError: The Hub cannot be reached.
    """
    faults = []
    for number, record in enumerate(manifest.sources):
        ref = resolve_split(parse_data_ref(record.source), for_training=number == 0)
        if (now := source_identity(ref).fingerprint) != (then := record.fingerprint):
            faults.append(f"{record.source} has changed: fingerprint {now[:12]}, then {then[:12]}")
    return faults


def snapshot_hash(splits: Iterable[SplitRecord]) -> str:
    """Hash a snapshot by its content: roles and hashes of its splits."""
    return content_hash([[split.role, split.description.hash] for split in splits])


def hash_snapshot_inputs(
    data: DataConfig, seed: int, sources: Sequence[DataSource] | None = None
) -> str:
    """Hash everything that determines a snapshot, without building it; 64 hex digits.

    Raises:
        DataError: A source is missing.
    """
    references = [
        hash_file(path) if path.is_file() else None
        for folder in (data.curation.difficulty.predictions, data.balance.weak_from)
        if folder and (path := Path(folder) / PREDICTIONS_FILE)
    ]
    if data.balance.weak_by == "holm":
        analysis = read_record(Path(data.balance.weak_from) / ANALYSIS_FILE, AnalysisRecord)
        references += analysis.weak_subjects if analysis is not None else [None]
    fingerprints = [source.identity.fingerprint for source in sources or list_sources(data)]
    return content_hash(
        [RULES_VERSION, data.model_dump(mode="json"), seed, fingerprints, references]
    )


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    """Provide a scratch folder in the snapshot's folder; leftovers of a killed run are removed."""
    with translate_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.name.startswith(_WORK):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(".") and path.name.endswith(".part"):
                path.unlink()
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _write_snapshot(
    built: BuiltSnapshot, folder: Path, inputs: str, data: DataConfig, seed: int, progress: Progress
) -> SnapshotManifest:
    """Write the files, the manifest last, and remove the files of an earlier snapshot."""
    splits = []
    with progress.task("writing", sum(len(split[2]) for split in built.splits)) as task:
        for split in built.splits:
            splits.append(write_split(folder, *split))
            task.advance(splits[-1].description.n)
    lines = format_json_lines(built.excluded)
    manifest = SnapshotManifest(
        inputs=inputs,
        hash=snapshot_hash(splits),
        seed=seed,
        config=data,
        sources=built.sources,
        overlap=built.separated.counts,
        examples=built.separated.examples,
        clusters=built.clusters,
        curation=built.curation,
        balance=built.balance,
        splits=tuple(splits),
        excluded_hash=hashlib.sha256(lines.encode()).hexdigest(),
        provenance=collect_provenance(),
    )
    (folder / MANIFEST_FILE).unlink(missing_ok=True)  # the old snapshot is incomplete from here on
    write_text(folder / EXCLUDED_FILE, lines)
    write_text(folder / DATASHEET_FILE, render_snapshot_datasheet(manifest))
    write_record(folder / MANIFEST_FILE, manifest)
    remove_stale_splits(folder, splits)
    return manifest


def format_json_lines(records: Iterable[Record]) -> str:
    """Format records as JSON lines, without the fields that are None."""
    return "".join(f"{record.model_dump_json(exclude_none=True)}\n" for record in records)


def remove_stale_splits(folder: Path, splits: Iterable[SplitRecord]) -> None:
    """Remove split files of an earlier snapshot from a folder."""
    current = {split.file for split in splits}
    for path in folder.iterdir():
        if _SPLIT_FILE.fullmatch(path.name) and path.name not in current:
            path.unlink()


def write_split(
    folder: Path, role: Role, source: str, questions: QuestionTable, excluded: dict[str, int]
) -> SplitRecord:
    """Write one split to a file with its hash in the name, unless it exists already."""
    description = describe_split(source, questions, excluded)
    base = parse_data_ref(source).slug if role == "evaluated" else role
    path = folder / f"{base}-{description.hash[:12]}.parquet"
    if not _has_content(path, description.hash):
        write_parquet(questions, path)
    return SplitRecord(
        role=role,
        file=path.name,
        description=description,
        profile=count_split(questions),
        purpose=infer_purpose(questions.ids),
    )


def _has_content(path: Path, content: str) -> bool:
    try:
        return path.is_file() and questions_hash(read_parquet(path)) == content
    except DataError:
        return False
