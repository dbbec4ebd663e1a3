"""Releases: put together, opened, held against the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medtune.analysis.serving_thresholds import calibrated
from medtune.core.errors import CheckFailed
from medtune.core.progress import Progress
from medtune.core.prompt import fingerprint, likelihood_of
from medtune.core.provenance import provenance
from medtune.core.records import Method
from medtune.core.schemas.guardrails import ServingCalibration
from medtune.guardrails.classifier.learned import SHIPPED, unpacked
from medtune.guardrails.policy import STARTER, load_policy
from medtune.models.open_model import open_model
from medtune.models.sources import resolve
from medtune.models.weights_card import ADAPTER, card_named, manner, parted
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_rules import judge
from medtune.releases.gate_schema import Evidence, GateRecord, Margins, Waiver
from medtune.releases.promotion import binding
from medtune.releases.registry import Registry
from medtune.releases.schema import LEARNED, POLICY, WEIGHTS, FileRef, Release, check_name


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What goes into a release."""

    name: str
    model: str
    policy: Path | None = None
    calibration: Path | None = None
    """Evaluation of calibration questions."""
    method: Method | None = None
    note: str = ""


def build(registry: Registry, options: BuildOptions, actor: str, progress: Progress) -> Release:
    """Put a release together from what was trained.

    Raises:
        MedtuneError: The name, the model, the policy or the calibration cannot be used.
    """
    check_name(options.name)
    policy = load_policy(options.policy)
    asked, card = manner(options.model), card_named(options.model)
    method = options.method or likelihood_of(asked.target)
    model = open_model(options.model, style=asked.style, progress=progress, light=True)
    described = model.describe()
    calibration: ServingCalibration | None = None
    if options.calibration is not None:
        risk, level = policy.confidence.risk, policy.confidence.level
        calibration = calibrated(options.calibration, described, method, risk, level)
    base, adapter = parted(options.model)
    folder = adapter or (resolve(base).folder if card is not None else None)
    files: dict[str, FileRef] = {}
    if folder is not None:
        found = registry.objects.put_all(folder)
        files = {f"{WEIGHTS}/{path}": ref for path, ref in found.items()}
    files[POLICY] = registry.objects.put(options.policy or STARTER)
    files[LEARNED] = registry.objects.put_text(unpacked(SHIPPED).decode())
    release = Release(
        name=options.name,
        base=card.base if card else base,
        base_fingerprint=card.base_fingerprint if card else described.fingerprint,
        weights="adapter" if adapter else "model" if card else "base",
        weights_hash=card.weights_hash if card else None,
        scheme=card.scheme if card else None,
        prompt_hash=fingerprint(asked.style, model.render),
        style=asked.style,
        target=asked.target,
        method=method,
        data_hash=card.data_hash if card else None,
        policy=policy.version,
        policy_hash=policy.hash,
        calibration=calibration,
        files=files,
        note=options.note,
        created=datetime.now(UTC),
        provenance=provenance(),
    )
    return registry.add(release, actor)


def model_of(registry: Registry, release: Release) -> str:
    """Name a release's model as every command does; each of its bytes is hashed on the way.

    Raises:
        ReleaseError: It is damaged.
    """
    tree = registry.tree(release)
    kind = {"adapter": ADAPTER, "model": "path:"}.get(release.weights)
    return f"{kind}{tree / WEIGHTS}" if kind else release.base


def gate(
    registry: Registry, name: str, margins: Margins, waivers: Sequence[Waiver], actor: str
) -> GateRecord:
    """Hold a release against the champion, by what was measured; the verdict is kept.

    Raises:
        CheckFailed: What was measured was measured with other frozen questions.
        InputError: A rule is waived that cannot be.
        ReleaseError: Evidence is damaged.
    """
    candidate, champion = registry.find(name), registry.aliases().champion
    if champion == candidate.id:
        champion = None  # as it was measured: by itself
    proofs = EvidenceStore(registry)
    bound = binding(proofs, candidate, champion, margins)
    measured = proofs.evidence(candidate.id, champion)
    evidence, refs = Evidence(), {}
    if measured is not None:
        if measured.suite != bound.suite:
            raise CheckFailed(
                f"other questions were frozen since {candidate.name} was measured",
                expected=f"evidence on the suite {bound.suite}, not {measured.suite}",
                fix=f"medtune release evaluate {candidate.name} ...",
            )
        refs = measured.records
        evidence = proofs.read_evidence(refs, is_packed=candidate.scheme is not None)
    record = judge(candidate.id, champion, evidence, margins, waivers)
    bound = bound.model_copy(update={"looks": proofs.looks(candidate)})
    record = record.model_copy(update={"evidence": refs, "bound": bound})
    proofs.keep_verdict(record, actor)
    return record
