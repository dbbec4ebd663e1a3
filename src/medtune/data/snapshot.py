"""A snapshot: cleaned, separated and curated splits under the hash that names them.

`data.pipeline` makes it; here it is written, found again, checked and read.
On disk it is a folder: one parquet per split with its hash in the name, `excluded.jsonl` with a
reason per id, `datasheet.md`, and `manifest.json`, which is written last: a folder with a
manifest is whole.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import DataConfig
from medtune.core.predictions_io import ANALYSIS, PREDICTIONS
from medtune.core.progress import Progress
from medtune.core.provenance import provenance
from medtune.core.records import SplitDescription, content_hash
from medtune.core.run_folder import disk_errors, read_record, write_record, write_text
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.dataset import Role, SnapshotManifest, SplitRecord
from medtune.data.arrow_table import QuestionTable, questions_hash, read_parquet, write_parquet
from medtune.data.counts import profile
from medtune.data.datasheet import datasheet
from medtune.data.load import MANIFEST, describe, identity, settled
from medtune.data.pipeline import BuiltSnapshot, DataSource, build, sources_of
from medtune.data.sources.sources import parse_ref
from medtune.data.training_only import purpose_of

RULES = 2
"""Version of what is done to data; a change of rules makes older snapshots stale."""
EXCLUDED = "excluded.jsonl"
DATASHEET = "datasheet.md"
_WORK = ".work-"
_SPLIT_FILE = re.compile(r".+-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True, slots=True)
class SnapshotSplit:
    """One split, ready for use."""

    role: Role
    questions: QuestionTable
    description: SplitDescription


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an experiment trains on, watches, calibrates with and reports on."""

    train: SnapshotSplit
    validation: SnapshotSplit | None
    calibration: SnapshotSplit | None
    evaluated: tuple[SnapshotSplit, ...]
    manifest: SnapshotManifest


def prepare_snapshot(data: DataConfig, seed: int, folder: Path, progress: Progress) -> Snapshot:
    """Make a snapshot, or take the one in the folder if it was made from the same inputs.

    Args:
        data: Which questions, and what is done to them.
        seed: Of all lots.
        folder: Where it is or will be; the caller holds its lock.
        progress: Where to report.

    Raises:
        DataError: A source cannot be used.
        FolderError: The folder cannot be written.
    """
    sources = sources_of(data)
    inputs = _inputs(data, seed, sources)
    manifest = read_record(folder / MANIFEST, SnapshotManifest)
    if manifest is not None and manifest.inputs == inputs and not faults_of(folder, manifest):
        progress.say(f"{folder}: snapshot {manifest.hash[:12]} still valid")
        return read_snapshot(folder, manifest)
    with _working_in(folder) as work:
        built = build(data, seed, sources, work, progress)
        manifest = _write(built, folder, inputs, data, seed, progress)
    progress.say(f"{folder}: snapshot {manifest.hash[:12]} written")
    return read_snapshot(folder, manifest)


def read_snapshot(folder: Path, manifest: SnapshotManifest) -> Snapshot:
    """Open the splits of a snapshot.

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


def faults_of(folder: Path, manifest: SnapshotManifest) -> list[str]:
    """Compare a snapshot's files with its manifest, byte for byte in what they say.

    Returns:
        What is wrong, a line each; nothing if it is whole.
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
        faults.append(f"{folder / MANIFEST}: its hash is not that of its splits")
    try:
        found = hashlib.sha256((folder / EXCLUDED).read_bytes()).hexdigest()
    except OSError:
        found = "none"
    if found != manifest.excluded_hash:
        faults.append(f"{folder / EXCLUDED} is missing or was changed")
    return faults


def changed_sources(manifest: SnapshotManifest) -> list[str]:
    """Say which sources are no longer what the snapshot was made of.

    Raises:
        DataError: A source is gone.
        HubError: The Hub cannot be reached.
    """
    return [
        f"{record.source} has changed: fingerprint {now[:12]}, then {record.fingerprint[:12]}"
        for number, record in enumerate(manifest.sources)
        if (now := identity(settled(parse_ref(record.source), teaching=number == 0)).fingerprint)
        != record.fingerprint
    ]


def snapshot_hash(splits: Iterable[SplitRecord]) -> str:
    """Name a snapshot by what it holds: roles and hashes of its splits."""
    return content_hash([[split.role, split.description.hash] for split in splits])


def snapshot_inputs(data: DataConfig, seed: int) -> str:
    """Hash everything that determines a snapshot, without making it; 64 hex digits.

    Raises:
        DataError: A source is missing.
    """
    return _inputs(data, seed, sources_of(data))


def _inputs(data: DataConfig, seed: int, sources: Iterable[DataSource]) -> str:
    """Hash everything that determines a snapshot."""
    references = [
        hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for folder in (data.curation.difficulty.predictions, data.balance.weak_from)
        if folder and (path := Path(folder) / PREDICTIONS)
    ]
    if data.balance.weak_by == "holm":
        analysis = read_record(Path(data.balance.weak_from) / ANALYSIS, AnalysisRecord)
        references += analysis.weak_subjects if analysis is not None else [None]
    fingerprints = [source.identity.fingerprint for source in sources]
    return content_hash([RULES, data.model_dump(mode="json"), seed, fingerprints, references])


@contextmanager
def _working_in(folder: Path) -> Iterator[Path]:
    """Give a scratch folder beside the results; what a killed run left is cleared away."""
    with disk_errors(folder):
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


def _write(
    built: BuiltSnapshot, folder: Path, inputs: str, data: DataConfig, seed: int, progress: Progress
) -> SnapshotManifest:
    """Write the files, the manifest last, and remove what an earlier snapshot left."""
    splits = []
    with progress.task("writing", sum(len(split[2]) for split in built.splits)) as task:
        for split in built.splits:
            splits.append(written_split(folder, *split))
            task.advance(splits[-1].description.n)
    lines = "".join(f"{e.model_dump_json(exclude_none=True)}\n" for e in built.excluded)
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
        provenance=provenance(),
    )
    (folder / MANIFEST).unlink(missing_ok=True)  # from here on the old one is not whole
    write_text(folder / EXCLUDED, lines)
    write_text(folder / DATASHEET, datasheet(manifest))
    write_record(folder / MANIFEST, manifest)
    keep_only(folder, splits)
    return manifest


def keep_only(folder: Path, splits: Iterable[SplitRecord]) -> None:
    """Remove the files of splits that an earlier snapshot left in a folder."""
    current = {split.file for split in splits}
    for path in folder.iterdir():
        if _SPLIT_FILE.fullmatch(path.name) and path.name not in current:
            path.unlink()


def written_split(
    folder: Path, role: Role, source: str, questions: QuestionTable, excluded: dict[str, int]
) -> SplitRecord:
    """Write one split under a name that carries its hash; one that is there already stays."""
    description = describe(source, questions, excluded)
    base = parse_ref(source).slug if role == "evaluated" else role
    path = folder / f"{base}-{description.hash[:12]}.parquet"
    if not _holds(path, description.hash):
        write_parquet(questions, path)
    return SplitRecord(
        role=role,
        file=path.name,
        description=description,
        profile=profile(questions),
        purpose=purpose_of(questions.ids),
    )


def _holds(path: Path, content: str) -> bool:
    try:
        return path.is_file() and questions_hash(read_parquet(path)) == content
    except DataError:
        return False
