"""Promote a release that passed the gate, or roll back to the previous champion.

Imports nothing that computes, so that an alias changes at once even on a busy machine.
"""

from __future__ import annotations

from medtune.core.errors import CheckFailed
from medtune.core.records import content_hash
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_rules import apply_gate
from medtune.releases.gate_schema import Binding, GateRecord, Margins
from medtune.releases.registry import Registry
from medtune.releases.schema import Alias, Release


def compute_binding(
    evidence_store: EvidenceStore, release: Release, champion: str | None, margins: Margins
) -> Binding:
    """Return the hashes of everything that a verdict on a release depends on.

    Raises:
        ReleaseError: Evidence or the frozen suite is damaged.
    """
    suite, measured = (
        evidence_store.read_suite(),
        evidence_store.find_evidence_ref(release.id, champion),
    )
    return Binding(
        margins=content_hash(margins.model_dump(mode="json")),
        policy=release.policy_hash,
        suite=suite[0].hash if suite else None,
        evidence=measured.sha256 if measured else None,
    )


def promote(registry: Registry, name: str, alias: Alias, actor: str) -> Release:
    """Make a release champion, if it passed the gate, or challenger.

    Raises:
        CheckFailed: It has no verdict against this champion, was refused, or its verdict is out of
            date: the frozen suite, evidence, margins, policy or rules changed.
        ReleaseError: It is damaged, or its evidence is.
    """
    release = registry.find(name)

    def held() -> None:
        if alias == "champion":
            check_promotable(registry, release)

    held()
    registry.ensure_tree(release)  # the files are in place before the alias changes
    action = f"release.{'promote' if alias == 'champion' else alias}"
    registry.set_alias(alias, release, actor, action, held)
    return release


def check_promotable(registry: Registry, release: Release) -> None:
    """Check that a release has a passing verdict that is up to date.

    Raises:
        CheckFailed: The release cannot become champion.
        ReleaseError: Evidence is damaged.
    """
    champion, evidence_store = registry.read_aliases().champion, EvidenceStore(registry)
    if release.id == champion:
        return
    judged = f"medtune release gate {release.name}"
    measured = f"medtune release evaluate {release.name} ...; {judged}"
    said = evidence_store.find_verdict(release, champion)
    if said is None or said.bound is None:
        raise CheckFailed(
            f"the gate has not judged {release.name} against the present champion",
            expected="a verdict that names its evidence; those of earlier versions name none",
            fix=measured,
        )
    was, now = said.bound, compute_binding(evidence_store, release, champion, said.margins)
    if was.suite != now.suite:
        raise CheckFailed(
            f"other questions were frozen since the gate judged {release.name}", fix=measured
        )
    if was.evidence != now.evidence:
        raise CheckFailed(f"{release.name} was measured again since the gate judged it", fix=judged)
    if (was.margins, was.policy) != (now.margins, now.policy) or _reapply_gate(
        evidence_store, release, said
    ) != said:
        raise CheckFailed(
            f"the rules or their inputs changed since the gate judged {release.name}",
            fix=judged,
        )
    if not said.passed:
        reasons = "; ".join(f"{r.rule}: {r.reason}" for r in said.refused)
        raise CheckFailed(f"{release.name} is refused: {reasons}")


def _reapply_gate(evidence_store: EvidenceStore, release: Release, said: GateRecord) -> GateRecord:
    """Apply the gate again to the same evidence, margins and waivers, verifying every record."""
    found = evidence_store.find_evidence(said.candidate, said.champion)
    records = found.records if found else {}
    evidence = evidence_store.read_evidence(records, release)
    waivers = [result.waiver for result in said.results if result.waiver is not None]
    again = apply_gate(said.candidate, said.champion, evidence, said.margins, waivers)
    return again.model_copy(update={"evidence": records, "bound": said.bound})


def rollback(registry: Registry, actor: str) -> Release:
    """Make the previous champion champion again.

    Raises:
        ReleaseError: There is none, or it is damaged.
    """
    former = registry.previous_champion()
    registry.ensure_tree(former)
    registry.set_alias("champion", former, actor, "release.rollback")
    return former
