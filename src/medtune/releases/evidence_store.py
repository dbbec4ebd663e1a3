"""What releases have to show: the frozen questions, what was measured, and what the gate said.

Every record is an object, and the log names it: measuring or judging again adds one, and none is
replaced.  What earlier versions measured and judged is named nowhere, and counts as not done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from medtune.core.errors import ReleaseError
from medtune.core.records import ComparisonRecord, Question, Record
from medtune.core.run_folder import read_record, write_record
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlices
from medtune.core.schemas.audit import AuditLine, Detail
from medtune.core.schemas.compression import BenchRecord, ParityRecord
from medtune.core.schemas.safety import SafetyRecord
from medtune.releases.gate_schema import (
    CandidateEvaluation,
    Evidence,
    EvidenceKind,
    EvidenceRecord,
    GateRecord,
    RegressionRecord,
    ServedRecord,
    Suite,
)
from medtune.releases.registry import SHORT, Registry
from medtune.releases.schema import FileRef, Release

R = TypeVar("R", bound=Record)
EVALUATED, JUDGED, FROZEN = "release.evaluate", "release.gate", "release.freeze"
"""What the log calls it."""
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


class EvidenceStore:
    """Evidence and verdicts in a registry.

    Args:
        registry: Whose.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def suite(self) -> tuple[Suite, list[Question]] | None:
        """Read the frozen questions; None where none were frozen.

        Raises:
            ReleaseError: They are damaged, or the log says that others were frozen.
        """
        told = next((x for x in reversed(self._registry.log()) if x.action == FROZEN), None)
        if told is None:
            return None
        place = self._registry.folder / "suite.json"
        suite = read_record(place, Suite)
        file = told.detail.get("file")  # earlier versions did not tell
        if suite is None or suite.hash != told.subject or file not in (None, suite.file.sha256):
            raise ReleaseError(
                f"{place} is not what was frozen last",
                expected=f"questions of hash {told.subject}, as the log says",
                fix="restore it from a backup, or: medtune release freeze",
            )
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
            told: dict[str, Detail] = {"source": source, "n": suite.n, "file": file.sha256}
            self._registry.append(actor, FROZEN, hashed, told)
            write_record(self._registry.folder / "suite.json", suite)
        return suite

    def evidence(self, candidate: str, champion: str | None) -> EvidenceRecord | None:
        """Find what was measured last of a release beside a champion; None where nothing was.

        Raises:
            ReleaseError: It is missing, changed, of another version, or about other releases.
        """
        ref = self.evidence_ref(candidate, champion)
        if ref is None:
            return None
        record = self._registry.objects.record(ref, EvidenceRecord)
        _check_about(record, candidate, champion)
        return record

    def evidence_ref(self, candidate: str, champion: str | None) -> FileRef | None:
        """Find the object of what was measured last of a release beside a champion.

        Raises:
            ReleaseError: It is missing.
        """
        told = self._told(EVALUATED, candidate, "evidence")
        beside = [line for line in told if line.detail.get("champion") == champion]
        return self._ref(beside[-1], "evidence") if beside else None

    def history(self, candidate: str) -> list[EvidenceRecord]:
        """Read everything that was ever measured of a release, the oldest first.

        Raises:
            ReleaseError: One is missing, changed, or of another version.
        """
        told = self._told(EVALUATED, candidate, "evidence")
        return [self._kept(line, "evidence", EvidenceRecord) for line in told]

    def keep_evidence(self, record: EvidenceRecord, actor: str) -> None:
        """Keep what was measured, beside whatever was measured before."""
        ref = self._registry.objects.put_text(record.model_dump_json(indent=1))
        with self._registry.writing():
            self._registry.append(
                actor,
                EVALUATED,
                record.candidate,
                {
                    "champion": record.champion,
                    "evidence": ref.sha256,
                    "data": record.data.source,
                    "n": record.data.n,
                    "data_hash": record.data.hash,
                },
            )

    def looks(self, release: Release) -> tuple[CandidateEvaluation, ...]:
        """List every evaluation of a release's weights, the oldest first.

        The same weights under another name, policy or calibration are the same candidate.
        """
        same = {one.id for one in self._registry.releases() if _weights(one) == _weights(release)}
        return tuple(
            CandidateEvaluation.model_validate(
                {
                    "time": line.time,
                    "source": line.detail.get("data"),
                    "n": line.detail.get("n"),
                    "hash": line.detail.get("data_hash"),
                }
            )
            for line in self._registry.log()
            if line.action == EVALUATED and line.subject in same
        )

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
        """Find what the gate said last of a release beside a champion; None where it did not.

        Raises:
            ReleaseError: It is missing, changed, or of another version.
        """
        told = self._told(JUDGED, candidate.id, "verdict")
        beside = [line for line in told if line.detail.get("champion") == champion]
        if not beside:
            return None
        record = self._kept(beside[-1], "verdict", GateRecord)
        _check_about(record, candidate.id, champion)
        return record

    def latest_verdict(self, release: Release) -> GateRecord | None:
        """Find what the gate said last of a release, whoever was champion then.

        Raises:
            ReleaseError: It is missing, changed, or of another version.
        """
        told = self._told(JUDGED, release.id, "verdict")
        return self._kept(told[-1], "verdict", GateRecord) if told else None

    def keep_verdict(self, record: GateRecord, actor: str) -> None:
        """Keep what the gate said, beside whatever it said before."""
        said: dict[str, Detail] = {
            r.rule: r.outcome for r in record.results if r.outcome != "passed"
        }
        ref = self._registry.objects.put_text(record.model_dump_json(indent=1))
        told = {"champion": record.champion, "passed": record.passed, "verdict": ref.sha256}
        with self._registry.writing():
            self._registry.append(actor, JUDGED, record.candidate, {**told, **said})

    def _told(self, action: str, release: str, what: str) -> list[AuditLine]:
        """Find the log's lines about a release that name an object."""
        return [
            line
            for line in self._registry.log()
            if (line.action, line.subject) == (action, release) and what in line.detail
        ]

    def _ref(self, line: AuditLine, what: str) -> FileRef:
        return self._registry.objects.ref(str(line.detail[what]))

    def _kept(self, line: AuditLine, what: str, kind: type[R]) -> R:
        return self._registry.objects.record(self._ref(line, what), kind)


def _check_about(record: EvidenceRecord | GateRecord, candidate: str, champion: str | None) -> None:
    """Refuse what the log says is about other releases than it is."""
    if (record.candidate, record.champion) != (candidate, champion):
        raise ReleaseError(
            f"the {record.kind} that the log names for {candidate[:SHORT]} is about "
            f"{record.candidate[:SHORT]}",
            expected="what was measured and judged of this release, beside this champion",
            fix="medtune release evaluate; medtune release gate",
        )


def _weights(release: Release) -> tuple[str, str | None]:
    return release.base_fingerprint, release.weights_hash
