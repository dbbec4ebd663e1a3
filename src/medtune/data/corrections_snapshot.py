"""Snapshot of corrections: one train split, the origin of each question, and a manifest.

The corrections are cleaned like any source.  Overlap is removed when a model is trained on them,
because the evaluated splits are known only then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import DataError, EmptySplitError
from medtune.core.experiment import ColumnMapping
from medtune.core.provenance import collect_provenance
from medtune.core.run_folder import read_record, write_record, write_text
from medtune.core.schemas.corrections import AskersRecord, CorrectionOrigin, CorrectionsManifest
from medtune.core.schemas.dataset import Exclusion
from medtune.data.arrow_table import QuestionTable
from medtune.data.cleaning.clean import Cleaned, clean_rows
from medtune.data.load import MANIFEST_FILE
from medtune.data.snapshot import (
    EXCLUDED_FILE,
    format_json_lines,
    remove_stale_splits,
    snapshot_hash,
    write_split,
)
from medtune.data.sources.files import LocatedRow

ORIGINS_FILE = "origins.jsonl"
CORRECTION_COLUMNS = ColumnMapping(
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
    """Content of a corrections snapshot."""

    source: str
    """Name of the split, with the endpoint's release or releases."""
    questions: QuestionTable
    origins: tuple[CorrectionOrigin, ...]
    excluded: tuple[tuple[str, str], ...]
    """(request id, reason) of every decided item that is left out."""
    undecided: int
    marked: int
    askers: AskersRecord


def clean_corrections(rows: Iterable[LocatedRow], source: str) -> Cleaned:
    """Apply the data contract to reviewed items.

    Raises:
        EmptySplitError: None of them is a usable question.
    """
    try:
        return clean_rows(rows, CORRECTION_COLUMNS, source)
    except EmptySplitError as error:
        raise no_corrections_error(error.found) from error


def no_corrections_error(found: str) -> EmptySplitError:
    """Return the error for a corrections split without questions."""
    return EmptySplitError(
        found,
        expected="an item that reviewers approved or edited, with a stem and 2 to 10 different "
        "options",
        fix="review what waits: /review of the endpoint; name its store with --data or --database",
    )


def write_corrections(corrections: Corrections, folder: Path) -> CorrectionsManifest:
    """Write the snapshot, its manifest last; an equal snapshot is left unchanged.

    The caller holds the lock of the folder.

    Raises:
        DataError: The folder holds other data.
        FolderError: The folder cannot be written.
    """
    path = folder / MANIFEST_FILE
    found = read_record(path, CorrectionsManifest)
    if found is None and path.exists():
        raise DataError(
            f"{folder} holds other data",
            expected="a new folder, or one with corrections",
            fix="choose another folder with --out",
        )
    reasons = _count_names(reason for _, reason in corrections.excluded)
    split = write_split(folder, "train", corrections.source, corrections.questions, reasons)
    origins = format_json_lines(corrections.origins)
    excluded = format_json_lines(
        Exclusion(source=corrections.source, id=name, reason=why)
        for name, why in corrections.excluded
    )
    approved = sum(one.decision == "approve" for one in corrections.origins)
    manifest = CorrectionsManifest(
        hash=snapshot_hash([split]),
        splits=(split,),
        decided=len(corrections.origins) + len(corrections.excluded),
        undecided=corrections.undecided,
        approved=approved,
        edited=len(corrections.origins) - approved,
        left_out=split.description.excluded,
        marked=corrections.marked,
        releases=_count_names(one.release for one in corrections.origins),
        askers=corrections.askers,
        origins_hash=hashlib.sha256(origins.encode()).hexdigest(),
        excluded_hash=hashlib.sha256(excluded.encode()).hexdigest(),
        provenance=collect_provenance(),
    )
    if found is None or found.model_copy(update={"provenance": manifest.provenance}) != manifest:
        path.unlink(missing_ok=True)  # the old snapshot is incomplete from here on
        found = manifest
    write_text(folder / ORIGINS_FILE, origins)
    write_text(folder / EXCLUDED_FILE, excluded)
    write_record(path, found)
    remove_stale_splits(folder, [split])
    return found


def _count_names(names: Iterable[str]) -> dict[str, int]:
    """Count names, sorted, so that the order of the database does not matter."""
    known = list(names)
    return {name: known.count(name) for name in sorted(set(known))}


def name_corrections_source(releases: Sequence[str]) -> str:
    """Return the name of a corrections source, with the reviewed releases."""
    names = sorted(set(releases))
    return f"corrections of the endpoint, release{'s' * (len(names) > 1)} {', '.join(names)}"
