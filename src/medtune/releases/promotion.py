"""Who is champion: a release that the gate let through, or the one before it again.

Nothing that computes is imported here: an alias moves at once, also where both cores are busy.
"""

from __future__ import annotations

from medtune.core.errors import CheckFailed
from medtune.core.records import content_hash
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.gate_rules import judge
from medtune.releases.gate_schema import Binding, GateRecord, Margins
from medtune.releases.registry import Registry
from medtune.releases.schema import Alias, Release


def binding(
    proofs: EvidenceStore, release: Release, champion: str | None, margins: Margins
) -> Binding:
    """Hash everything that a verdict on a release rests on, as it is now.

    Raises:
        ReleaseError: Evidence or the frozen questions are damaged.
    """
    suite, measured = proofs.suite(), proofs.evidence_ref(release.id, champion)
    return Binding(
        margins=content_hash(margins.model_dump(mode="json")),
        policy=release.policy_hash,
        suite=suite[0].hash if suite else None,
        evidence=measured.sha256 if measured else None,
    )


def promote(registry: Registry, name: str, alias: Alias, actor: str) -> Release:
    """Let a release be champion, if the gate let it through, or challenger.

    Raises:
        CheckFailed: The gate refused it, or was not asked about it and this champion, or judged by
            what is no more: other questions, evidence, margins or rules.
        ReleaseError: It is damaged, or its evidence is.
    """
    release = registry.find(name)

    def held() -> None:
        if alias == "champion":
            hold(registry, release)

    held()
    registry.prepared(release)  # whoever follows the alias finds it laid out
    action = f"release.{'promote' if alias == 'champion' else alias}"
    registry.point(alias, release, actor, action, held)
    return release


def hold(registry: Registry, release: Release) -> None:
    """Hold the verdict on a release against everything that it rests on, as that is now.

    Raises:
        CheckFailed: The release may not be champion.
        ReleaseError: Evidence is damaged.
    """
    champion, proofs = registry.aliases().champion, EvidenceStore(registry)
    if release.id == champion:
        return
    judged = f"medtune release gate {release.name}"
    measured = f"medtune release evaluate {release.name} ...; {judged}"
    said = proofs.verdict(release, champion)
    if said is None or said.bound is None:
        raise CheckFailed(
            f"the gate was not asked about {release.name} beside the present champion",
            expected="a verdict that names its evidence; those of earlier versions name none",
            fix=measured,
        )
    was, now = said.bound, binding(proofs, release, champion, said.margins)
    if was.suite != now.suite:
        raise CheckFailed(
            f"other questions were frozen since the gate judged {release.name}", fix=measured
        )
    if was.evidence != now.evidence:
        raise CheckFailed(f"{release.name} was measured again since the gate judged it", fix=judged)
    if (was.margins, was.policy) != (now.margins, now.policy) or _again(
        proofs, release, said
    ) != said:
        raise CheckFailed(
            f"the rules, or what they were applied to, changed since the gate judged "
            f"{release.name}",
            fix=judged,
        )
    if not said.passed:
        reasons = "; ".join(f"{r.rule}: {r.reason}" for r in said.refused)
        raise CheckFailed(f"{release.name} is refused: {reasons}")


def _again(proofs: EvidenceStore, release: Release, said: GateRecord) -> GateRecord:
    """Judge again by the same evidence, margins and waivers; every record is read and hashed."""
    found = proofs.evidence(said.candidate, said.champion)
    records = found.records if found else {}
    evidence = proofs.read_evidence(records, is_packed=release.scheme is not None)
    waivers = [result.waiver for result in said.results if result.waiver is not None]
    again = judge(said.candidate, said.champion, evidence, said.margins, waivers)
    return again.model_copy(update={"evidence": records, "bound": said.bound})


def rollback(registry: Registry, actor: str) -> Release:
    """Let the champion before this one be champion again.

    Raises:
        ReleaseError: There was none, or it is damaged.
    """
    former = registry.former()
    registry.prepared(former)
    registry.point("champion", former, actor, "release.rollback")
    return former
