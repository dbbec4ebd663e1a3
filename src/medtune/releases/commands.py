"""`medtune release freeze | evaluate | list | log | verify | diff`.

A release is everything that determines an answer, identified by a hash: weights or their base's
identity, prompt, policy, calibration. The gate compares it with the champion; only a release that
passed can become champion, and every step is in the registry's log. `releases/build.py` has the
steps shared with updates, build and gate; `releases/promotion.py` sets the aliases.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.progress import Progress
from medtune.data.load import load_split
from medtune.releases.evidence import EvidenceOptions, collect_evidence
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_schema import Difference, EvidenceRecord, Suite
from medtune.releases.registry import Registry
from medtune.releases.schema import ReleaseList, ReleaseLog, Verification


def freeze_suite(
    registry: Registry, source: str, limit: int | None, actor: str, progress: Progress
) -> Suite:
    """Freeze the questions that every release is asked and none is trained on.

    Raises:
        DataError: The source cannot be used.
    """
    split = load_split(source, size=limit, progress=progress)
    return EvidenceStore(registry).freeze_suite(
        source, split.description.hash, split.questions, actor
    )


def evaluate_release(
    registry: Registry,
    name: str,
    actor: str,
    progress: Progress,
    *,
    data: str,
    calibration: str,
    trained_on: str | None = None,
    original: str | None = None,
    search: Path | None = None,
    limit: int | None = None,
) -> EvidenceRecord:
    """Collect all evidence that the gate needs.

    Args:
        registry: The registry.
        name: Name of the release.
        actor: Name for the log.
        progress: Progress reports.
        data: Source of the questions that are reported on.
        calibration: Source of the calibration questions.
        trained_on: Source of the train split.
        original: Model that a compressed release was made from.
        search: Folder of a passage index to search as a baseline; None builds one of `trained_on`.
        limit: Number of questions of `data`, from the first.

    Raises:
        MedtuneError: Data or releases cannot be used.
    """
    train = load_split(trained_on, progress=progress, for_training=True) if trained_on else None
    asked = EvidenceOptions(
        data=load_split(data, size=limit, progress=progress),
        calibration=load_split(calibration, progress=progress),
        trained_on=train,
        original=original,
        search=search,
    )
    return collect_evidence(registry, name, asked, actor, progress)


def list_releases(registry: Registry) -> ReleaseList:
    """List all releases."""
    return ReleaseList(releases=tuple(registry.release_rows()))


def read_release_log(registry: Registry, name: str | None) -> ReleaseLog:
    """Return the log of a registry, or of one release.

    Raises:
        StoreError: The log was changed.
        ReleaseError: No release has that name.
    """
    wanted = None if name is None else registry.find(name).id
    lines = tuple(line for line in registry.read_log() if wanted in (None, line.subject))
    return ReleaseLog(lines=lines, names={one.id: one.name for one in registry.read_releases()})


def verify_release(registry: Registry, name: str) -> Verification:
    """Verify the hash of every file of a release."""
    return registry.verify(registry.find(name))


def compare_releases(registry: Registry, a: str, b: str) -> Difference:
    """Compare two releases."""
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
    evidence_store, answers = EvidenceStore(registry), None
    measured = evidence_store.find_evidence(two.id, one.id)
    if measured is not None:
        found = evidence_store.read_evidence(measured.records).regression
        answers = found.changed if found else None
    return Difference.model_validate(
        {"a": one.name, "b": two.name, "fields": fields, "files": files, "answers": answers}
    )
