"""`medtune release export NAME --to hub-folder | mlflow`.

A release becomes a folder that others can read without medtune: its weights where peft and
transformers look for them, cards rendered from its records, a bill of materials, the records
themselves.  `huggingface_hub.upload_folder` takes it as it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import FolderError, InputError
from medtune.core.run_folder import read_record, replacing, sha256_of, write_record, write_text
from medtune.data.sources.hub_catalogue import KNOWN
from medtune.models import builtin
from medtune.models.save import name_base
from medtune.models.sources import hub_name
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.cyclonedx import bill_of_materials, schema_faults
from medtune.releases.export.datasheet import datasheet, examined
from medtune.releases.export.mlflow import register
from medtune.releases.export.model_card import model_card
from medtune.releases.export.schema import ExportRecord, MlflowRecord
from medtune.releases.export.strip_texts import without_texts
from medtune.releases.export.traceability import traceability
from medtune.releases.gate_schema import Evidence, EvidenceRecord
from medtune.releases.registry import Registry
from medtune.releases.schema import ALIASES, POLICY, WEIGHTS, FileRef, Release, inside

RELEASE, VERDICT, EVIDENCE = "release.json", "gate.json", "evidence"
MEASURED = "evidence.json"
"""What was measured and with what, by hash; `gate.json` names its own."""
CARD, BOM = "README.md", "bom.cdx.json"
ADAPTER = "adapter_config.json"
OURS = (CARD, "DATASHEET.md", "TRACEABILITY.md", BOM, POLICY, RELEASE, VERDICT, MEASURED)
"""What an export writes itself, in place of anything of that name among the weights."""
ROUNDED = (
    "The base was {base}: the weights of {hub}, rounded to 4 bits. On the unrounded weights, which "
    "{config} names, nothing was measured."
)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the command line may say."""

    out: Path | None = None
    licence: str | None = None
    """Of the weights, where the records do not know it."""
    texts: bool = False
    """Keep questions' texts in the evidence."""


def to_folder(registry: Registry, name: str, options: ExportOptions) -> ExportRecord:
    """Write a release to a folder, whole or not at all.

    Raises:
        ReleaseError: There is no such release, or its bytes or its evidence are damaged.
        InputError: The folder holds something else.
        FolderError: It cannot be written.
    """
    release = registry.find(name)
    folder = options.out or Path("runs") / "export" / release.name
    _check_place(folder)
    tree = registry.tree(release)
    with replacing(folder) as staging:
        dossier = _dossier(registry, release, options, _laid_out(tree, staging, release))
        faults = _write(staging, dossier, registry, options)
        staging.chmod(0o755)
    written = [path for path in folder.rglob("*") if path.is_file()]
    return ExportRecord(
        id=release.id,
        name=release.name,
        folder=str(folder),
        files=len(written),
        size_bytes=sum(path.stat().st_size for path in written),
        standing=dossier.standing,
        texts=options.texts,
        changed=dossier.changed,
        bom_faults=faults,
    )


def to_mlflow(
    registry: Registry, name: str, options: ExportOptions, tracking_uri: str
) -> MlflowRecord:
    """Register a release in MLflow, with its folder as artifacts.

    Raises:
        ReleaseError: There is no such release, or its bytes or its evidence are damaged.
        InputError: MLflow is not installed.
        StoreError: Its store cannot be used.
    """
    release, aliases = registry.find(name), registry.aliases()
    with tempfile.TemporaryDirectory() as place:
        folder = options.out or Path(place) / release.name
        to_folder(registry, release.id, ExportOptions(folder, options.licence, options.texts))
        dossier = _dossier(registry, release, options, {})
        called = [alias for alias in ALIASES if getattr(aliases, alias) == release.id]
        return register(dossier, folder, called, tracking_uri)


def _check_place(folder: Path) -> None:
    """See that a folder may be replaced.

    Raises:
        InputError: It holds something that is no export.
        FolderError: It is a file.
    """
    if folder.is_file():
        raise FolderError(f"{folder} is a file", fix="choose another place with --out")
    if folder.is_dir() and any(folder.iterdir()) and not read_record(folder / RELEASE, Release):
        raise InputError(
            f"{folder} holds something that is no export",
            expected="an empty or missing folder, or an earlier export to replace",
            fix="choose another place with --out",
        )


def _laid_out(tree: Path, staging: Path, release: Release) -> dict[str, FileRef]:
    """Copy the weights to the top, and the policy beside them; return what stands there."""
    found = {}
    hub = hub_name(release.base, release.base_fingerprint)
    for path, ref in release.files.items():
        name = path.removeprefix(f"{WEIGHTS}/")
        if name in OURS and path != POLICY:
            continue  # peft's own empty card, for one
        target = inside(staging, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / path, target)
        found[name] = ref
        # Adapters that older versions trained name a folder of the machine that trained them.
        if name == ADAPTER and hub is not None:
            name_base(target, *hub)
            found[name] = FileRef(sha256=sha256_of(target), size_bytes=target.stat().st_size)
    return found


def _dossier(
    registry: Registry, release: Release, options: ExportOptions, files: dict[str, FileRef]
) -> ReleaseContext:
    """Gather what is known."""
    proofs = EvidenceStore(registry)
    verdict = proofs.latest_verdict(release)
    measured = proofs.evidence_ref(release.id, registry.aliases().champion)
    if verdict is not None:
        named = verdict.bound.evidence if verdict.bound else None
        measured, records = registry.objects.ref(named) if named else None, verdict.evidence
    else:
        found = registry.objects.record(measured, EvidenceRecord) if measured else None
        records = found.records if found else {}
    evidence = proofs.read_evidence(records, is_packed=release.scheme is not None)
    hub = hub_name(release.base, release.base_fingerprint)
    rounded = release.base.startswith("embedded:")
    note = ROUNDED.format(base=release.base, hub=hub and hub[0], config=ADAPTER)
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
        licences=dict(_licences(release, evidence)),
    )


def _licences(release: Release, evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Find the licences of the questions, where the catalogue knows them."""
    sources = [split.source for _, split in examined(evidence)]
    if release.calibration is not None:
        sources.append(release.calibration.source)
    if evidence.regression is not None:
        sources.append(evidence.regression.suite.source)
    for source in sources:
        kind, _, rest = source.partition(":")
        where = "/".join(rest.partition(":")[0].split("/")[:2])
        if kind == "hub" and where in KNOWN:
            yield source, KNOWN[where].licence
        elif kind == "starter":
            yield source, STARTER


STARTER = "Apache-2.0"
"""Of the questions that come with medtune, as of all of it."""


def _write(
    staging: Path, dossier: ReleaseContext, registry: Registry, options: ExportOptions
) -> tuple[str, ...] | None:
    """Write cards and records; return what the official schema says of the bill of materials."""
    write_text(staging / CARD, model_card(dossier, options.texts))
    write_text(staging / "DATASHEET.md", datasheet(dossier, options.texts))
    write_text(staging / "TRACEABILITY.md", traceability(dossier))
    write_record(staging / RELEASE, dossier.release)
    if dossier.verdict is not None:
        write_record(staging / VERDICT, dossier.verdict)
    if dossier.measured is not None:
        write_text(staging / MEASURED, registry.objects.text(dossier.measured))
    shown = dossier.evidence if options.texts else without_texts(dossier.evidence)
    for kind, ref in dossier.records.items():
        place = staging / EVIDENCE / f"{kind}.json"
        if getattr(shown, kind) == getattr(dossier.evidence, kind):
            write_text(place, registry.objects.text(ref))  # its hash is the one in gate.json
        else:
            write_record(place, getattr(shown, kind))
    bom = bill_of_materials(dossier)
    write_text(staging / BOM, bom)
    return schema_faults(bom)
