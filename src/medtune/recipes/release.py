"""`medtune release build | list | show | verify | diff | gate | promote | rollback`.

A release is everything that decides an answer, under the hash of all of it: weights or their base's
identity, prompt, policy, calibration.  The gate holds it against the champion; only what passed
becomes champion, and every step stands in the registry's log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from medtune.analysis.confidence import calibrated
from medtune.core.compress import BenchRecord, ParityRecord
from medtune.core.errors import CheckFailed, InputError
from medtune.core.findings import AnalysisRecord, PairedSlices
from medtune.core.folder import read_record
from medtune.core.gate import Evidence, GateRecord, Margins, Waiver
from medtune.core.progress import Progress
from medtune.core.prompt import fingerprint, likelihood_of
from medtune.core.provenance import provenance
from medtune.core.records import ComparisonRecord, Method, ModelDescription, Record
from medtune.core.release import (
    POLICY,
    WEIGHTS,
    Alias,
    Difference,
    FileRef,
    Release,
    ReleaseList,
    Verification,
)
from medtune.core.safety import SafetyRecord
from medtune.guard.policy import STARTER, load_policy
from medtune.models.card import card_named, manner, parted
from medtune.models.door import open_model
from medtune.models.sources import resolve
from medtune.registry.gate import judge
from medtune.registry.store import Registry, put_all

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the command line may say."""

    name: str
    model: str
    policy: Path | None = None
    calibration: Path | None = None
    """Evaluation of calibration questions."""
    method: Method | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class GateOptions:
    """Where the evidence lies; what is not named is missing."""

    comparison: Path | None = None
    """Folder that `medtune compare CHAMPION CANDIDATE` wrote."""
    regression: Path | None = None
    """The same, of the frozen suite."""
    safety: Path | None = None
    parity: Path | None = None
    bench: Path | None = None
    waivers: tuple[Waiver, ...] = ()
    margins: Margins = field(default_factory=Margins)


def build(registry: Registry, options: BuildOptions, actor: str, progress: Progress) -> Release:
    """Put a release together from what was trained.

    Raises:
        MedtuneError: The model, the policy or the calibration cannot be used.
    """
    policy = load_policy(options.policy)
    asked, card = manner(options.model), card_named(options.model)
    method = options.method or likelihood_of(asked.target)
    model = open_model(options.model, style=asked.style, progress=progress, light=True)
    described = model.describe()
    calibration = None
    if options.calibration is not None:
        risk, level = policy.confidence.risk, policy.confidence.level
        calibration = calibrated(options.calibration, described, method, risk, level)
    base, adapter = parted(options.model)
    folder = adapter or (resolve(base).folder if card is not None else None)
    files: dict[str, FileRef] = {}
    if folder is not None:
        files = {f"{WEIGHTS}/{path}": ref for path, ref in put_all(registry, folder).items()}
    files[POLICY] = registry.put(options.policy or STARTER)
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
        evidence={},
        note=options.note,
        created=datetime.now(UTC),
        provenance=provenance(),
    )
    return registry.add(release, actor)


def listed(registry: Registry) -> ReleaseList:
    """List all releases."""
    return ReleaseList(releases=tuple(registry.rows()))


def verified(registry: Registry, name: str) -> Verification:
    """Read every byte of a release again."""
    return registry.verify(registry.find(name))


def difference(registry: Registry, a: str, b: str) -> Difference:
    """Put two releases side by side."""
    one, two = registry.find(a), registry.find(b)
    left, right = (r.model_dump(mode="json", exclude={"files", "evidence"}) for r in (one, two))
    fields = {
        key: (str(left[key]), str(right[key]))
        for key in left
        if left[key] != right[key] and key != "provenance"
    }
    files = {}
    for path in sorted({*one.files, *two.files}):
        before, after = one.files.get(path), two.files.get(path)
        if before != after:
            files[path] = "added" if before is None else "removed" if after is None else "changed"
    return Difference.model_validate(
        {"a": one.name, "b": two.name, "fields": fields, "files": files}
    )


def gate(registry: Registry, name: str, options: GateOptions, actor: str) -> GateRecord:
    """Hold a release against the champion; the verdict and its evidence are kept.

    Raises:
        InputError: Evidence is of other models, or a rule is waived that cannot be.
    """
    candidate, alias = registry.find(name), registry.aliases().champion
    champion = registry.find("champion") if alias else None
    evidence, files = _evidence(options, candidate, champion)
    record = judge(candidate.id, alias, evidence, options.margins, options.waivers)
    refs = {path.as_posix(): registry.put(path) for path in files}
    record = record.model_copy(update={"evidence": refs})
    registry.keep_verdict(record, actor)
    return record


def promote(registry: Registry, name: str, alias: Alias, actor: str) -> Release:
    """Let a release be champion, if the gate let it through, or challenger.

    Raises:
        CheckFailed: The gate refused it, or was not asked about it and this champion.
    """
    release, champion = registry.find(name), registry.aliases().champion
    if alias == "champion" and release.id != champion:
        said = registry.verdict(release, champion)
        if said is None:
            raise CheckFailed(
                f"the gate was not asked about {release.name} beside the present champion",
                fix=f"medtune release gate {release.name} ...",
            )
        if not said.passed:
            reasons = "; ".join(f"{r.rule}: {r.reason}" for r in said.refused)
            raise CheckFailed(f"{release.name} is refused: {reasons}")
    registry.tree(release)  # whoever follows the alias finds it laid out, and whole
    registry.point(alias, release, actor, f"release.{'promote' if alias == 'champion' else alias}")
    return release


def rollback(registry: Registry, actor: str) -> Release:
    """Let the champion before this one be champion again.

    Raises:
        ReleaseError: There was none, or it is damaged.
    """
    former = registry.former()
    registry.tree(former)
    registry.point("champion", former, actor, "release.rollback")
    return former


def _evidence(
    options: GateOptions, candidate: Release, champion: Release | None
) -> tuple[Evidence, Sequence[Path]]:
    """Read the evidence, and see that it is of these two."""
    files: list[Path] = []

    def read(path: Path | None, kind: type[R], name: str = "") -> R | None:
        if path is None:
            return None
        place = path / name if name else path
        found = read_record(place, kind)
        if found is None:
            raise InputError(
                f"{place} holds no {kind.__name__}", expected="a record of this version"
            )
        files.append(place)
        return found

    comparison = read(options.comparison, ComparisonRecord, "comparison.json")
    slices = read(options.comparison, PairedSlices, "slices.json")
    mine = read(options.comparison, AnalysisRecord, "analysis-b.json")
    theirs = read(options.comparison, AnalysisRecord, "analysis-a.json")
    for analysis, release in ((mine, candidate), (theirs, champion)):
        if analysis is not None and release is not None:
            _check_model(analysis.evaluation.model, release)
    return (
        Evidence(
            comparison=comparison,
            slices=slices,
            analysis=mine,
            regression=read(options.regression, ComparisonRecord, "comparison.json"),
            safety=read(options.safety, SafetyRecord),
            parity=read(options.parity, ParityRecord),
            bench=read(options.bench, BenchRecord),
        ),
        files,
    )


def _check_model(model: ModelDescription, release: Release) -> None:
    """See that an evaluation is of a release.

    Raises:
        InputError: It is of another model.
    """
    if release.weights == "adapter":
        same = (model.fingerprint, model.adapter) == (
            release.base_fingerprint,
            release.weights_hash,
        )
    elif release.weights == "base":
        same = (model.fingerprint, model.adapter) == (release.base_fingerprint, None)
    else:
        same = model.adapter is None
    if not same:
        raise InputError(
            f"an evaluation of {model.source} is no evidence about release {release.name}",
            expected=f"one of {release.base} with weights {release.weights_hash or 'of its own'}",
        )
