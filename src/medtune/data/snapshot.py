"""A snapshot: cleaned splits, their counts and reasons, and the hash that names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from medtune.core.config import ColumnMapping, DataConfig
from medtune.core.errors import DataError, EmptySplitError
from medtune.core.folder import write_atomic, write_record
from medtune.core.records import Question, Record, SplitDescription, content_hash
from medtune.data.clean import clean
from medtune.data.overlap import without_overlap
from medtune.data.sources import parse_ref, read_rows

STARTER_COLUMNS = ColumnMapping(
    stem="stem",
    options=("options",),
    answer="answer",
    answer_base=0,
    subject="subject",
    topic="topic",
    explanation="explanation",
    group="group",
)


class Split(Record):
    """One cleaned split."""

    questions: tuple[Question, ...]
    description: SplitDescription
    exclusions: tuple[tuple[str, str], ...]
    """(place or id, reason) of every row left out."""
    answer_base: int | None


class SnapshotManifest(Record):
    """What a snapshot holds."""

    kind: Literal["snapshot"] = "snapshot"
    train: SplitDescription
    evaluated: tuple[SplitDescription, ...]
    exclusions: dict[str, dict[str, str]]
    """Per source: every id or place left out, with its reason."""
    answer_bases: dict[str, int | None]
    """Per source: whether indices counted from 0 or 1."""
    hash: str
    """sha256 over the hashes of all splits."""


class Snapshot(Record):
    """A train split and the splits to examine, ready for use."""

    train: Split
    evaluated: tuple[Split, ...]

    @property
    def manifest(self) -> SnapshotManifest:
        """Describe the snapshot."""
        splits = [self.train, *self.evaluated]
        return SnapshotManifest(
            train=self.train.description,
            evaluated=tuple(split.description for split in self.evaluated),
            exclusions={s.description.source: dict(s.exclusions) for s in splits},
            answer_bases={s.description.source: s.answer_base for s in splits},
            hash=content_hash([split.description.hash for split in splits]),
        )


def load_split(source: str, columns: ColumnMapping | None = None, size: int | None = None) -> Split:
    """Read and clean one split.

    Args:
        source: starter:, hub: or file:.
        columns: Mapping for hub: and file:; the starter has its own.
        size: Keep the first so many questions after cleaning.

    Raises:
        DataError: The source cannot be used, or holds fewer than `size` questions.
    """
    columns = columns or ColumnMapping()
    ref = parse_ref(source)
    own = STARTER_COLUMNS if ref.kind == "starter" else columns
    cleaned = clean(read_rows(ref, columns.split), own, str(ref))
    if size is not None and size > len(cleaned.questions):
        raise DataError(
            f"{ref} has {len(cleaned.questions)} usable questions, {size} were asked for",
            fix="ask for fewer, or take all by leaving the size out",
        )
    return _split(str(ref), cleaned.questions[:size], cleaned.excluded, cleaned.answer_base)


def load_snapshot(data: DataConfig) -> Snapshot:
    """Read, clean and separate everything that an experiment uses.

    Overlap is removed before `train_size` is counted off, so that the size is what is trained.

    Raises:
        DataError: A source cannot be used, or two evaluated splits have the same name.
    """
    evaluated = tuple(load_split(e, data.columns, data.evaluate_size) for e in data.evaluate)
    names = [split.description.source for split in evaluated]
    if len(set(names)) < len(names):
        raise DataError(f"an evaluated split is named twice: {', '.join(names)}")
    full = load_split(data.train, data.columns)
    kept, removed = without_overlap(
        full.questions, [question for split in evaluated for question in split.questions]
    )
    if not kept:
        raise EmptySplitError(
            f"{full.description.source}: every question also stands in an evaluated split",
            fix="train and evaluate on different splits",
        )
    if data.train_size is not None and data.train_size > len(kept):
        raise DataError(
            f"{full.description.source} has {len(kept)} usable questions, "
            f"train_size asks for {data.train_size}",
            fix="lower data.train_size, or leave it out",
        )
    exclusions = (*full.exclusions, *((name, "also evaluated") for name in removed))
    train = _split(full.description.source, kept[: data.train_size], exclusions, full.answer_base)
    return Snapshot(train=train, evaluated=evaluated)


def write_snapshot(snapshot: Snapshot, folder: Path) -> SnapshotManifest:
    """Write `manifest.json` and one parquet per split, the manifest last.

    Raises:
        FolderError: The folder cannot be written.
    """
    manifest = snapshot.manifest
    taken: set[str] = set()
    for split in (snapshot.train, *snapshot.evaluated):
        name = file_name(split.description.source)
        # Two folders may hold files of one name.
        while name in taken:
            name = f"{name}-{split.description.hash[:8]}"
        taken.add(name)
        write_parquet(split.questions, folder / f"{name}.parquet")
    write_record(folder / "manifest.json", manifest)
    return manifest


def write_parquet(questions: Sequence[Question], path: Path) -> None:
    """Write questions as parquet, one column per field."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema(
        [
            ("id", pyarrow.string()),
            ("stem", pyarrow.string()),
            ("options", pyarrow.list_(pyarrow.string())),
            ("answer", pyarrow.int8()),
            *((name, pyarrow.string()) for name in ("subject", "topic", "explanation", "group")),
        ]
    )
    rows = [question.model_dump(mode="json") for question in questions]
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    write_atomic(path, lambda handle: pyarrow.parquet.write_table(table, handle))


def file_name(source: str) -> str:
    """Turn a source's name into a file's: `file:/x/val.parquet:dev` -> `val-dev`."""
    ref = parse_ref(source)
    stem = Path(ref.place).name.removesuffix(Path(ref.place).suffix) if ref.place else ref.kind
    parts = [stem, ref.split or ""]
    return "-".join(part for part in parts if part).replace("/", "-")


def _split(
    source: str,
    questions: tuple[Question, ...],
    exclusions: tuple[tuple[str, str], ...],
    answer_base: int | None,
) -> Split:
    reasons: dict[str, int] = {}
    for _, reason in exclusions:
        reasons[reason] = reasons.get(reason, 0) + 1
    description = SplitDescription(
        source=source,
        n=len(questions),
        excluded=reasons,
        hash=content_hash([question.model_dump(mode="json") for question in questions]),
    )
    return Split(
        questions=questions,
        description=description,
        exclusions=exclusions,
        answer_base=answer_base,
    )
