"""A snapshot of corrections: one train split, where each question came from, and a manifest.

It is cleaned as any source is.  What it overlaps with is looked for where it is trained on: the
evaluated splits are known there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import DataError, EmptySplitError
from medtune.core.experiment import ColumnMapping
from medtune.core.provenance import provenance
from medtune.core.records import Record
from medtune.core.run_folder import read_record, write_record, write_text
from medtune.core.schemas.corrections import AskersRecord, CorrectionOrigin, CorrectionsManifest
from medtune.core.schemas.dataset import Exclusion, SplitRecord
from medtune.data.arrow_table import QuestionTable
from medtune.data.cleaning.clean import Cleaned, clean
from medtune.data.load import MANIFEST
from medtune.data.snapshot import EXCLUDED, keep_only, snapshot_hash, written_split
from medtune.data.sources.files import Located

ORIGINS = "origins.jsonl"
COLUMNS = ColumnMapping(
    stem="stem",
    options=("options",),
    answer="answer",
    answer_form="index",
    answer_base=0,
    subject="subject",
    topic="",
    explanation="",
)


@dataclass(frozen=True, slots=True)
class Corrections:
    """What is written."""

    source: str
    """What the split is called: the endpoint's release or releases."""
    questions: QuestionTable
    origins: tuple[CorrectionOrigin, ...]
    excluded: tuple[tuple[str, str], ...]
    """(request id, reason) of every decided item that is left out."""
    undecided: int
    marked: int
    askers: AskersRecord


def teachable(rows: Iterable[Located], source: str) -> Cleaned:
    """Apply the data contract to settled items.

    Raises:
        EmptySplitError: None of them is a question.
    """
    try:
        return clean(rows, COLUMNS, source)
    except EmptySplitError as error:
        raise nothing_settled(error.found) from error


def nothing_settled(found: str) -> EmptySplitError:
    """Say that there is nothing to train on."""
    return EmptySplitError(
        found,
        expected="an item that reviewers approved or edited, with a stem and 2 to 10 different "
        "options",
        fix="review what waits: /review of the endpoint; name its store with --data or --database",
    )


def write_corrections(corrections: Corrections, folder: Path) -> CorrectionsManifest:
    """Write the snapshot, its manifest last; one that says the same already stays as it is.

    Args:
        corrections: What it holds.
        folder: Where it is or will be; the caller holds its lock.

    Raises:
        DataError: The folder holds other data.
        FolderError: It cannot be written.
    """
    path = folder / MANIFEST
    found = read_record(path, CorrectionsManifest)
    if found is None and path.exists():
        raise DataError(
            f"{folder} holds other data",
            expected="a new folder, or one with corrections",
            fix="choose another folder with --out",
        )
    reasons = _counted(reason for _, reason in corrections.excluded)
    split = written_split(folder, "train", corrections.source, corrections.questions, reasons)
    origins = _lines(corrections.origins)
    excluded = _lines(
        Exclusion(source=corrections.source, id=name, reason=why)
        for name, why in corrections.excluded
    )
    manifest = _manifest(corrections, split, origins, excluded)
    if found is None or found.model_copy(update={"provenance": manifest.provenance}) != manifest:
        path.unlink(missing_ok=True)  # from here on the old one is not whole
        found = manifest
    write_text(folder / ORIGINS, origins)
    write_text(folder / EXCLUDED, excluded)
    write_record(path, found)
    keep_only(folder, [split])
    return found


def _manifest(
    corrections: Corrections, split: SplitRecord, origins: str, excluded: str
) -> CorrectionsManifest:
    approved = sum(one.decision == "approve" for one in corrections.origins)
    return CorrectionsManifest(
        hash=snapshot_hash([split]),
        splits=(split,),
        decided=len(corrections.origins) + len(corrections.excluded),
        undecided=corrections.undecided,
        approved=approved,
        edited=len(corrections.origins) - approved,
        left_out=split.description.excluded,
        marked=corrections.marked,
        releases=_counted(one.release for one in corrections.origins),
        askers=corrections.askers,
        origins_hash=hashlib.sha256(origins.encode()).hexdigest(),
        excluded_hash=hashlib.sha256(excluded.encode()).hexdigest(),
        provenance=provenance(),
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    """Count names, in their own order: that of the store must not matter."""
    known = list(names)
    return {name: known.count(name) for name in sorted(set(known))}


def _lines(records: Iterable[Record]) -> str:
    return "".join(f"{record.model_dump_json(exclude_none=True)}\n" for record in records)


def releases_named(releases: Sequence[str]) -> str:
    """Name a source after the releases whose answers were reviewed."""
    names = sorted(set(releases))
    return f"corrections of the endpoint, release{'s' * (len(names) > 1)} {', '.join(names)}"
