"""What releases have to show: the frozen questions, what was measured, and what the gate said.

It lies in the registry's folder; every record is an object, so that it is what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from medtune.core.chain import Detail
from medtune.core.compress import BenchRecord, ParityRecord
from medtune.core.findings import AnalysisRecord, PairedSlices
from medtune.core.folder import read_record, write_record
from medtune.core.gate import (
    Evidence,
    EvidenceKind,
    EvidenceRecord,
    GateRecord,
    RegressionRecord,
    ServedRecord,
    Suite,
)
from medtune.core.records import ComparisonRecord, Question, Record
from medtune.core.release import FileRef, Release
from medtune.core.safety import SafetyRecord
from medtune.registry.store import SHORT, Registry

_KINDS: dict[EvidenceKind, type[Record]] = {
    "comparison": ComparisonRecord,
    "slices": PairedSlices,
    "analysis": AnalysisRecord,
    "regression": RegressionRecord,
    "safety": SafetyRecord,
    "served": ServedRecord,
    "packed": ParityRecord,
    "bench": BenchRecord,
}


class Proofs:
    """Evidence and verdicts in a registry.

    Args:
        registry: Whose.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def suite(self) -> tuple[Suite, list[Question]] | None:
        """Read the frozen questions; None where none were frozen.

        Raises:
            ReleaseError: They are damaged.
        """
        suite = read_record(self._registry.folder / "suite.json", Suite)
        if suite is None:
            return None
        # Not splitlines: U+2028 in a question ends no line.
        lines = self._registry.objects.text(suite.file).split("\n")[:-1]
        return suite, [Question.model_validate_json(line) for line in lines]

    def freeze(self, source: str, hashed: str, questions: Sequence[Question], actor: str) -> Suite:
        """Freeze questions that every release from now on is asked.

        Args:
            source: Where they come from.
            hashed: Their hash, as `SplitDescription.hash`.
            questions: All of them.
            actor: Who does it.
        """
        file = self._registry.objects.put_text(
            "".join(f"{q.model_dump_json()}\n" for q in questions)
        )
        suite = Suite(
            source=source, n=len(questions), hash=hashed, file=file, frozen=datetime.now(UTC)
        )
        with self._registry.writing():
            self._registry.append(actor, "release.freeze", hashed, {"source": source, "n": suite.n})
            write_record(self._registry.folder / "suite.json", suite)
        return suite

    def evidence(self, candidate: str, champion: str | None) -> EvidenceRecord | None:
        """Find what was measured of a release beside a champion; None where nothing was."""
        return read_record(self._between("evidence", candidate, champion), EvidenceRecord)

    def keep_evidence(self, record: EvidenceRecord, actor: str) -> None:
        """Keep what was measured, in place of what was measured of the same two before."""
        with self._registry.writing():
            self._registry.append(
                actor,
                "release.evaluate",
                record.candidate,
                {"champion": record.champion, **{k: r.sha256 for k, r in record.records.items()}},
            )
            write_record(self._between("evidence", record.candidate, record.champion), record)

    def read_evidence(
        self, records: Mapping[EvidenceKind, FileRef], *, is_packed: bool = False
    ) -> Evidence:
        """Read the records that were measured.

        Raises:
            ReleaseError: One is missing, changed, or of another version.
        """
        found = {
            kind: self._registry.objects.record(ref, _KINDS[kind]) for kind, ref in records.items()
        }
        return Evidence(is_packed=is_packed, **found)

    def verdict(self, candidate: Release, champion: str | None) -> GateRecord | None:
        """Find what the gate said of a release beside a champion; None where it was not asked."""
        return read_record(self._between("gates", candidate.id, champion), GateRecord)

    def latest_verdict(self, release: Release) -> GateRecord | None:
        """Find what the gate said last of a release, whoever was champion then."""
        asked = [
            line.detail.get("champion")
            for line in self._registry.log()
            if line.action == "release.gate" and line.subject == release.id
        ]
        return (
            self.verdict(release, None if asked[-1] is None else str(asked[-1])) if asked else None
        )

    def keep_verdict(self, record: GateRecord, actor: str) -> None:
        """Keep what the gate said, in place of what it said of the same two before."""
        said: dict[str, Detail] = {
            r.rule: r.outcome for r in record.results if r.outcome != "passed"
        }
        with self._registry.writing():
            self._registry.append(
                actor,
                "release.gate",
                record.candidate,
                {"champion": record.champion, "passed": record.passed, **said},
            )
            write_record(self._between("gates", record.candidate, record.champion), record)

    def _between(self, what: str, candidate: str, champion: str | None) -> Path:
        return (
            self._registry.folder
            / what
            / f"{candidate[:SHORT]}-{(champion or 'none')[:SHORT]}.json"
        )
