"""Build releases, load them, and apply the gate to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from medtune.analysis.serving_thresholds import calibrate_from_folder
from medtune.core.errors import CheckFailed, InputError, ReleaseError
from medtune.core.model_names import SEARCH_PREFIX, is_search_model
from medtune.core.progress import Progress
from medtune.core.prompt import method_for_form, prompt_fingerprint
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import collect_provenance
from medtune.core.records import Method
from medtune.core.schemas.guardrails import ServingCalibration
from medtune.guardrails.classifier.learned import DEFAULT_CLASSIFIER_FILE, unpacked
from medtune.guardrails.policy import STARTER_POLICY, load_policy
from medtune.models.open_model import open_model
from medtune.models.sources import resolve_model
from medtune.models.weights_card import (
    ADAPTER_PREFIX,
    find_card,
    resolve_prompt_defaults,
    split_adapter,
)
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_rules import apply_gate
from medtune.releases.gate_schema import Evidence, GateRecord, Margins, Waiver
from medtune.releases.promotion import compute_binding
from medtune.releases.registry import SHORT_ID_LENGTH, Registry
from medtune.releases.schema import LEARNED, POLICY, WEIGHTS, FileRef, Release, check_name
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import PassageIndex


def build_release(
    registry: Registry,
    name: str,
    model: str,
    actor: str,
    progress: Progress,
    *,
    policy_file: Path | None = None,
    calibration_folder: Path | None = None,
    method: Method | None = None,
    note: str = "",
) -> Release:
    """Build a release from a model, a policy and a calibration.

    Args:
        registry: The registry to add it to.
        name: Its name.
        model: Name of its model.
        actor: Name for the log.
        progress: Progress reports.
        policy_file: Policy of the guards; None for the starter policy.
        calibration_folder: Folder of an evaluation on calibration questions.
        method: letter or cloze; None for the one of the form that was trained.
        note: Free note.

    Raises:
        MedtuneError: The name, the model, the policy or the calibration cannot be used.
    """
    check_name(name)
    policy = load_policy(policy_file)
    asked, card = resolve_prompt_defaults(model), find_card(model)
    method = method or method_for_form(asked.target)
    opened = open_model(
        model, style=asked.style, progress=progress, light=True, retrieval=asked.retrieval
    )
    described = opened.describe()
    calibration: ServingCalibration | None = None
    if calibration_folder is not None:
        risk, level = policy.confidence.risk, policy.confidence.level
        calibration = calibrate_from_folder(calibration_folder, described, method, risk, level)
    if is_search_model(model):
        # The index stays where it is; the fingerprint of the release's base identifies it.
        model = f"{SEARCH_PREFIX}{Path(model.removeprefix(SEARCH_PREFIX)).resolve()}"
    base, adapter = split_adapter(model)
    folder = adapter or (resolve_model(base).folder if card is not None else None)
    files: dict[str, FileRef] = {}
    if folder is not None:
        found = registry.objects.put_folder(folder)
        files = {f"{WEIGHTS}/{path}": ref for path, ref in found.items()}
    files[POLICY] = registry.objects.put_file(policy_file or STARTER_POLICY)
    files[LEARNED] = registry.objects.put_text(unpacked(DEFAULT_CLASSIFIER_FILE).decode())
    release = Release(
        name=name,
        base=card.base if card else base,
        base_fingerprint=card.base_fingerprint if card else described.fingerprint,
        weights="adapter" if adapter else "model" if card else "base",
        weights_hash=card.weights_hash if card else None,
        scheme=card.scheme if card else None,
        prompt_hash=prompt_fingerprint(asked.style, opened.render, asked.retrieval.prompt_settings),
        style=asked.style,
        target=asked.target,
        method=method,
        data_hash=card.data_hash if card else None,
        policy=policy.version,
        policy_hash=policy.hash,
        calibration=calibration,
        files=files,
        note=note,
        created=datetime.now(UTC),
        provenance=collect_provenance(),
    )
    return registry.add_release(release, actor)


def model_reference(registry: Registry, release: Release) -> str:
    """Return a release's model as a command-line reference, verifying its files.

    Raises:
        ReleaseError: It is damaged.
    """
    tree = registry.materialize_tree(release)
    kind = {"adapter": ADAPTER_PREFIX, "model": "path:"}.get(release.weights)
    return f"{kind}{tree / WEIGHTS}" if kind else release.base


def find_release_evidence(
    release: Release, model: str, index: PassageIndex | None
) -> EvidenceFinder | None:
    """Return the passages of a release's prompts; None for a closed book.

    Args:
        release: The release.
        model: Its model, as `model_reference` names it.
        index: The index to read, which is in no release; None if none is named.

    Raises:
        InputError: It is not the one that the release was trained with.
    """
    trained = resolve_prompt_defaults(model)
    if not trained.retrieval.is_open_book:
        return None
    found = index.manifest.hash if index is not None else "none"
    if index is None or found != trained.index_hash:
        raise InputError(
            f"{release.name} reads passages of the index "
            f"{(trained.index_hash or 'unknown')[:SHORT_ID_LENGTH]}, here it is "
            f"{found[:SHORT_ID_LENGTH]}",
            expected="the index that it was trained with",
            fix="name the folder of its run: release evaluate --search RUN/index, "
            "serve --index RUN/index",
        )
    return EvidenceFinder(index, trained.retrieval)


def check_search_index(release: Release, model: AnswerModel) -> None:
    """Check that the index of a search, which lies outside of the registry, is still the same.

    Raises:
        ReleaseError: It was built again, or its scorer was fitted again.
    """
    if not is_search_model(release.base):
        return
    if (found := model.describe().fingerprint) != release.base_fingerprint:
        raise ReleaseError(
            f"the index of {release.name} has the fingerprint {(found or '')[:SHORT_ID_LENGTH]}",
            expected=f"{release.base_fingerprint[:SHORT_ID_LENGTH]}, as it was released",
            fix=f"build another release of it: medtune release build NAME {release.base}",
        )


def run_gate(
    registry: Registry, name: str, margins: Margins, waivers: Sequence[Waiver], actor: str
) -> GateRecord:
    """Apply the gate to a release with its evidence, and store the verdict.

    Raises:
        CheckFailed: The evidence is on another frozen suite.
        InputError: A waived rule is not waivable.
        ReleaseError: Evidence is damaged.
    """
    candidate, champion = registry.find(name), registry.read_aliases().champion
    if champion == candidate.id:
        champion = None  # the champion itself has no champion to be compared with
    evidence_store = EvidenceStore(registry)
    bound = compute_binding(evidence_store, candidate, champion, margins)
    measured = evidence_store.find_evidence(candidate.id, champion)
    evidence, refs = Evidence(), {}
    if measured is not None:
        if measured.suite != bound.suite:
            raise CheckFailed(
                f"other questions were frozen since {candidate.name} was measured",
                expected=f"evidence on the suite {bound.suite}, not {measured.suite}",
                fix=f"medtune release evaluate {candidate.name} ...",
            )
        refs = measured.records
        evidence = evidence_store.read_evidence(refs, candidate)
    record = apply_gate(candidate.id, champion, evidence, margins, waivers)
    bound = bound.model_copy(update={"looks": evidence_store.list_evaluations(candidate)})
    record = record.model_copy(update={"evidence": refs, "bound": bound})
    evidence_store.add_verdict(record, actor)
    return record
