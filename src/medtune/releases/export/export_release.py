"""`medtune release export NAME --to hub-folder | mlflow`.

A release becomes a folder that is usable without medtune: weights where peft and transformers
expect them, cards rendered from its records, a bill of materials, and the records themselves.
`medtune release push` uploads it to the Hub as it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import FolderError, InputError
from medtune.core.run_folder import hash_file, read_record, replace_folder, write_record, write_text
from medtune.data.sources.hub_catalogue import KNOWN_DATASETS
from medtune.models import builtin
from medtune.models.save import set_base_name
from medtune.models.sources import find_hub_name
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.export.context import ReleaseContext, evaluated_splits
from medtune.releases.export.cyclonedx import build_bill_of_materials, find_schema_faults
from medtune.releases.export.mlflow import register_release
from medtune.releases.export.model_card import render_model_card
from medtune.releases.export.render import render_release_datasheet, render_traceability
from medtune.releases.export.schema import ExportRecord, MlflowRecord
from medtune.releases.export.strip_texts import strip_texts
from medtune.releases.gate_schema import Evidence, EvidenceRecord
from medtune.releases.registry import Registry
from medtune.releases.schema import ALIASES, POLICY, WEIGHTS, FileRef, Release, safe_join
from medtune.reports.hub_results import (
    RESULTS_FOLDER,
    build_hub_result,
    missing_entry_reason,
    render_hub_results,
    results_file_name,
)

RELEASE, VERDICT, EVIDENCE = "release.json", "gate.json", "evidence"
EVIDENCE_RECORD = "evidence.json"
"""The evidence record; `gate.json` names its own."""
CARD, BOM = "README.md", "bom.cdx.json"
ADAPTER_CONFIG = "adapter_config.json"
WRITTEN_FILES = (
    CARD,
    "DATASHEET.md",
    "TRACEABILITY.md",
    BOM,
    POLICY,
    RELEASE,
    VERDICT,
    EVIDENCE_RECORD,
)
"""Files that an export writes itself, replacing files of these names among the weights."""
ROUNDED_NOTE = (
    "The base was {base}: the weights of {hub}, quantized to 4 bits. Nothing was measured on the "
    "unquantized weights, which {config} names."
)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of `medtune release export`."""

    out: Path | None = None
    licence: str | None = None
    """Licence of the weights, if the records do not know it."""
    texts: bool = False
    """Whether to keep questions' texts in the evidence."""


def export_to_folder(registry: Registry, name: str, options: ExportOptions) -> ExportRecord:
    """Export a release to a folder, completely or not at all.

    Raises:
        ReleaseError: There is no such release, or its files or evidence are damaged.
        InputError: The folder contains something else.
        FolderError: It cannot be written.
    """
    release = registry.find(name)
    folder = options.out or Path("runs") / "export" / release.name
    _check_target(folder)
    tree = registry.materialize_tree(release)
    with replace_folder(folder) as staging:
        context = _gather_context(registry, release, options, _copy_files(tree, staging, release))
        faults = _write_export(staging, context, registry, options)
        staging.chmod(0o755)
    written = [path for path in folder.rglob("*") if path.is_file()]
    return ExportRecord(
        id=release.id,
        name=release.name,
        folder=str(folder),
        files=len(written),
        size_bytes=sum(path.stat().st_size for path in written),
        standing=context.standing,
        texts=options.texts,
        changed=context.changed,
        bom_faults=faults,
        no_hub_result=_missing_result_reason(context),
    )


def export_to_mlflow(
    registry: Registry, name: str, options: ExportOptions, tracking_uri: str
) -> MlflowRecord:
    """Register a release in MLflow, with its export as artifacts.

    Raises:
        ReleaseError: There is no such release, or its files or evidence are damaged.
        InputError: MLflow is not installed.
        StoreError: Its store cannot be used.
    """
    release, aliases = registry.find(name), registry.read_aliases()
    with tempfile.TemporaryDirectory() as place:
        folder = options.out or Path(place) / release.name
        export_to_folder(
            registry, release.id, ExportOptions(folder, options.licence, options.texts)
        )
        context = _gather_context(registry, release, options, {})
        called = [alias for alias in ALIASES if getattr(aliases, alias) == release.id]
        return register_release(context, folder, called, tracking_uri)


def _check_target(folder: Path) -> None:
    """Check that a folder may be replaced.

    Raises:
        InputError: It contains something other than an export.
        FolderError: It is a file.
    """
    if folder.is_file():
        raise FolderError(f"{folder} is a file", fix="choose another place with --out")
    if folder.is_dir() and any(folder.iterdir()) and not read_record(folder / RELEASE, Release):
        raise InputError(
            f"{folder} contains something other than an export",
            expected="an empty or missing folder, or an earlier export to replace",
            fix="choose another place with --out",
        )


def _copy_files(tree: Path, staging: Path, release: Release) -> dict[str, FileRef]:
    """Copy weights and policy to the top of the export; return the written files."""
    found = {}
    hub = find_hub_name(release.base, release.base_fingerprint)
    for path, ref in release.files.items():
        name = path.removeprefix(f"{WEIGHTS}/")
        if name in WRITTEN_FILES and path != POLICY:
            continue  # such as peft's empty card
        target = safe_join(staging, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / path, target)
        found[name] = ref
        # Adapters trained by older versions name a local folder as their base.
        if name == ADAPTER_CONFIG and hub is not None:
            set_base_name(target, *hub)
            found[name] = FileRef(sha256=hash_file(target), size_bytes=target.stat().st_size)
    return found


def _gather_context(
    registry: Registry, release: Release, options: ExportOptions, files: dict[str, FileRef]
) -> ReleaseContext:
    """Gather everything that the cards need."""
    evidence_store = EvidenceStore(registry)
    verdict = evidence_store.find_latest_verdict(release)
    measured = evidence_store.find_evidence_ref(release.id, registry.read_aliases().champion)
    if verdict is not None:
        named = verdict.bound.evidence if verdict.bound else None
        measured, records = registry.objects.file_ref(named) if named else None, verdict.evidence
    else:
        found = registry.objects.load_record(measured, EvidenceRecord) if measured else None
        records = found.records if found else {}
    evidence = evidence_store.read_evidence(records, release)
    hub = find_hub_name(release.base, release.base_fingerprint)
    rounded = release.base.startswith("embedded:")
    note = ROUNDED_NOTE.format(base=release.base, hub=hub and hub[0], config=ADAPTER_CONFIG)
    return ReleaseContext(
        release=release,
        verdict=verdict,
        evidence=evidence,
        records=records,
        measured=measured,
        files=files,
        changed=tuple(name for name in files if files[name] not in release.files.values()),
        hub_base=hub[0] if hub else None,
        base_note=note if rounded else None,
        licence=options.licence or (builtin.LICENCE if rounded else None),
        licences=dict(_find_licences(release, evidence)),
    )


def _find_licences(release: Release, evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Yield the licences of the questions that the catalogue knows."""
    sources = [split.source for _, split in evaluated_splits(evidence)]
    if release.calibration is not None:
        sources.append(release.calibration.source)
    if evidence.regression is not None:
        sources.append(evidence.regression.suite.source)
    for source in sources:
        kind, _, rest = source.partition(":")
        where = "/".join(rest.partition(":")[0].split("/")[:2])
        if kind == "hub" and where in KNOWN_DATASETS:
            yield source, KNOWN_DATASETS[where].licence
        elif kind == "starter":
            yield source, STARTER_LICENCE


def _missing_result_reason(context: ReleaseContext) -> str | None:
    """Return why the Hub has no place for the release's accuracy; None if it has."""
    if context.evidence.analysis is None:
        return "the release was not evaluated"
    return missing_entry_reason(context.evidence.analysis.evaluation)


STARTER_LICENCE = "Apache-2.0"
"""Licence of medtune and of the questions that come with it."""


def _write_export(
    staging: Path, context: ReleaseContext, registry: Registry, options: ExportOptions
) -> tuple[str, ...] | None:
    """Write cards and records; return the bill of materials' schema faults."""
    write_text(staging / CARD, render_model_card(context, options.texts))
    write_text(staging / "DATASHEET.md", render_release_datasheet(context, options.texts))
    write_text(staging / "TRACEABILITY.md", render_traceability(context))
    write_record(staging / RELEASE, context.release)
    if context.verdict is not None:
        write_record(staging / VERDICT, context.verdict)
    if context.measured is not None:
        write_text(staging / EVIDENCE_RECORD, registry.objects.load_text(context.measured))
    shown = context.evidence if options.texts else strip_texts(context.evidence)
    for kind, ref in context.records.items():
        place = staging / EVIDENCE / f"{kind}.json"
        if getattr(shown, kind) == getattr(context.evidence, kind):
            write_text(place, registry.objects.load_text(ref))  # its hash is the one in gate.json
        else:
            write_record(place, getattr(shown, kind))
    if _missing_result_reason(context) is None and context.evidence.analysis is not None:
        exam = context.evidence.analysis.evaluation
        path = staging / RESULTS_FOLDER / results_file_name(exam)
        write_text(path, render_hub_results([build_hub_result(exam)]))
    bom = build_bill_of_materials(context)
    write_text(staging / BOM, bom)
    return find_schema_faults(bom)
