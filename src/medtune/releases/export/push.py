"""`medtune release push NAME hub:ORG/NAME`: upload a release that passed the gate to the Hub."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from medtune.core.errors import CheckFailed, InputError
from medtune.core.progress import Progress
from medtune.hub.hub_errors import HubRepository
from medtune.hub.upload import check_token, upload_folder
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.export.export_release import ExportOptions, export_to_folder
from medtune.releases.export.schema import PushRecord
from medtune.releases.registry import SHORT_ID_LENGTH, Registry
from medtune.releases.schema import Release

_TARGET = re.compile(r"hub:(\w[\w.-]*/\w[\w.-]*)", re.ASCII)


def push_release(
    registry: Registry,
    name: str,
    target: str,
    actor: str,
    progress: Progress,
    *,
    private: bool = False,
    revision: str | None = None,
    licence: str | None = None,
    texts: bool = False,
) -> PushRecord:
    """Export a release into a temporary folder and upload it to the Hub.

    Args:
        registry: The registry, whose log records the push.
        name: Name of the release.
        target: hub:ORG/NAME.
        actor: Name for the log.
        progress: Progress reports.
        private: Whether only the owner may see the repository.
        revision: Branch to commit to; None is the main branch.
        licence: Licence of the weights, if the records do not know it.
        texts: Whether to keep questions' texts in the evidence.

    Raises:
        InputError: The target is no Hub name, or is public and was to be private.
        CheckFailed: The release did not pass the gate, or its bill of materials is invalid.
        ReleaseError: There is no such release, or its files or evidence are damaged.
        HubError: There is no token, or the Hub refuses or cannot be reached.
    """
    if (named := _TARGET.fullmatch(target)) is None:
        raise InputError(
            f"{target!r} names no repository of the Hub",
            expected="hub:ORG/NAME",
            fix="name a branch with --revision",
        )
    repository = HubRepository("model", named[1], revision)
    release = registry.find(name)
    _check_gate(registry, release)
    check_token(repository)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / release.name
        exported = export_to_folder(registry, release.id, ExportOptions(folder, licence, texts))
        if exported.bom_faults:
            raise CheckFailed(
                f"bom.cdx.json does not conform to CycloneDX: {exported.bom_faults[0]}"
            )
        # As every action: logged before it is done.
        _log(registry, release, actor, "release.push", {"to": str(repository)})
        size = f"{exported.size_bytes / 1e6:,.1f} MB"
        progress.log_message(f"uploading {exported.files} files, {size}, to {repository}")
        message = f"Release {release.name} ({release.id[:SHORT_ID_LENGTH]})"
        done = upload_folder(folder, repository, message, private)
    _log(registry, release, actor, "release.pushed", {"commit": done.commit, "url": done.url})
    return PushRecord(
        id=release.id,
        name=release.name,
        repository=repository.name,
        revision=revision or "main",
        private=done.private,
        commit=done.commit,
        url=done.url,
        files=exported.files,
        size_bytes=exported.size_bytes,
        texts=texts,
    )


def _check_gate(registry: Registry, release: Release) -> None:
    """Refuse a release that the gate did not pass, with or without waivers."""
    verdict = EvidenceStore(registry).find_latest_verdict(release)
    if verdict is not None and verdict.passed:
        return
    what = "was not judged by the gate"
    if verdict is not None:
        what = f"is refused by the gate: {', '.join(rule.rule for rule in verdict.refused)}"
    raise CheckFailed(
        f"{release.name} {what}",
        expected="a release that passed, or whose failing rules are waived",
        fix=f"medtune release gate {release.name}; `release export` writes a folder in any case",
    )


def _log(
    registry: Registry, release: Release, actor: str, action: str, detail: dict[str, str]
) -> None:
    with registry.writing():
        registry.append_log(actor, action, release.id, dict(detail))
