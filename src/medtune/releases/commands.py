"""`medtune release freeze | evaluate | list | log | verify | diff`.

A release is everything that decides an answer, under the hash of all of it: weights or their base's
identity, prompt, policy, calibration.  The gate holds it against the champion; only what passed
becomes champion, and every step stands in the registry's log.  `releases/build.py` has what an
update does, too: build, gate; `releases/promotion.py` moves the aliases.
"""

from __future__ import annotations

from dataclasses import dataclass

from medtune.core.progress import Progress
from medtune.data.load import load_split
from medtune.releases.evidence import EvidenceOptions, evaluate
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_schema import Difference, EvidenceRecord, Suite
from medtune.releases.registry import Registry
from medtune.releases.schema import ReleaseList, ReleaseLog, Verification


@dataclass(frozen=True, slots=True)
class ReleaseEvaluateOptions:
    """What the command line may say; all data by their sources' names."""

    name: str
    data: str
    calibration: str
    trained_on: str | None = None
    original: str | None = None
    limit: int | None = None
    """Of `data` the first so many questions."""


def freeze(
    registry: Registry, source: str, limit: int | None, actor: str, progress: Progress
) -> Suite:
    """Freeze questions that every release is asked and none is trained on.

    Raises:
        DataError: The source cannot be used.
    """
    split = load_split(source, size=limit, progress=progress)
    return EvidenceStore(registry).freeze(source, split.description.hash, split.questions, actor)


def evaluated(
    registry: Registry, options: ReleaseEvaluateOptions, actor: str, progress: Progress
) -> EvidenceRecord:
    """Measure everything that the gate needs.

    Raises:
        MedtuneError: Data or releases cannot be used.
    """
    taught = options.trained_on
    asked = EvidenceOptions(
        data=load_split(options.data, size=options.limit, progress=progress),
        calibration=load_split(options.calibration, progress=progress),
        trained_on=load_split(taught, progress=progress, teaching=True) if taught else None,
        original=options.original,
    )
    return evaluate(registry, options.name, asked, actor, progress)


def listed(registry: Registry) -> ReleaseList:
    """List all releases."""
    return ReleaseList(releases=tuple(registry.rows()))


def logged(registry: Registry, name: str | None) -> ReleaseLog:
    """List what was done in a registry, or to one release.

    Raises:
        StoreError: The log was changed.
        ReleaseError: No release is called so.
    """
    wanted = None if name is None else registry.find(name).id
    lines = tuple(line for line in registry.log() if wanted in (None, line.subject))
    return ReleaseLog(lines=lines, names={one.id: one.name for one in registry.releases()})


def verified(registry: Registry, name: str) -> Verification:
    """Read every byte of a release again."""
    return registry.verify(registry.find(name))


def difference(registry: Registry, a: str, b: str) -> Difference:
    """Put two releases side by side."""
    one, two = registry.find(a), registry.find(b)
    left, right = (r.model_dump(mode="json", exclude={"files"}) for r in (one, two))
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
    proofs, answers = EvidenceStore(registry), None
    measured = proofs.evidence(two.id, one.id)
    if measured is not None:
        found = proofs.read_evidence(measured.records).regression
        answers = found.changed if found else None
    return Difference.model_validate(
        {"a": one.name, "b": two.name, "fields": fields, "files": files, "answers": answers}
    )
