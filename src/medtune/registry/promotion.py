"""Who is champion: a release that the gate let through, or the one before it again.

Nothing that computes is imported here: an alias moves at once, also where both cores are busy.
"""

from __future__ import annotations

from medtune.core.errors import CheckFailed
from medtune.core.release import Alias, Release
from medtune.registry.proofs import Proofs
from medtune.registry.store import Registry


def promote(registry: Registry, name: str, alias: Alias, actor: str) -> Release:
    """Let a release be champion, if the gate let it through, or challenger.

    Raises:
        CheckFailed: The gate refused it, or was not asked about it and this champion.
        ReleaseError: It is damaged.
    """
    release, champion = registry.find(name), registry.aliases().champion
    if alias == "champion" and release.id != champion:
        said = Proofs(registry).verdict(release, champion)
        if said is None:
            raise CheckFailed(
                f"the gate was not asked about {release.name} beside the present champion",
                fix=f"medtune release evaluate {release.name} ...; medtune release gate "
                f"{release.name}",
            )
        if not said.passed:
            reasons = "; ".join(f"{r.rule}: {r.reason}" for r in said.refused)
            raise CheckFailed(f"{release.name} is refused: {reasons}")
    registry.prepared(release)  # whoever follows the alias finds it laid out
    registry.point(alias, release, actor, f"release.{'promote' if alias == 'champion' else alias}")
    return release


def rollback(registry: Registry, actor: str) -> Release:
    """Let the champion before this one be champion again.

    Raises:
        ReleaseError: There was none, or it is damaged.
    """
    former = registry.former()
    registry.prepared(former)
    registry.point("champion", former, actor, "release.rollback")
    return former
