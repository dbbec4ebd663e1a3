"""Store the frozen suite, the evidence and the verdicts of the gate in a registry.

Every record is an object that the log names: a new measurement or verdict adds one, and none is
replaced. Records of earlier versions are not named in the log, and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from medtune.core.errors import ReleaseError
from medtune.core.records import ComparisonRecord, ForgettingRecord, Question, Record
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
from medtune.releases.registry import SHORT_ID_LENGTH, Registry
from medtune.releases.schema import FileRef, Release

R = TypeVar("R", bound=Record)
EVALUATED, JUDGED, FROZEN = "release.evaluate", "release.gate", "release.freeze"
"""Names of the actions in the log."""
_OBJECTS = {EVALUATED: "evidence", JUDGED: "verdict"}
"""Detail of each action that names its object."""
_KINDS: dict[EvidenceKind, type[Record]] = {
    "comparison": ComparisonRecord,
    "slices": PairedSlices,
    "analysis": AnalysisRecord,
    "regression": RegressionRecord,
    "general": ForgettingRecord,
    "safety": SafetyRecord,
    "served": ServedRecord,
    "packed": ParityRecord,
    "bench": BenchRecord,
}


class EvidenceStore:
    """Evidence and verdicts in a registry.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def read_suite(self) -> tuple[Suite, list[Question]] | None:
        """Read the frozen suite; None if none was frozen.

        Raises:
            ReleaseError: It is damaged, or the log names another one.
        """
        told = next((x for x in reversed(self._registry.read_log()) if x.action == FROZEN), None)
        if told is None:
            return None
        place = self._registry.folder / "suite.json"
        suite = read_record(place, Suite)
        file = told.detail.get("file")  # missing in earlier versions
        if suite is None or suite.hash != told.subject or file not in (None, suite.file.sha256):
            raise ReleaseError(
                f"{place} is not what was frozen last",
                expected=f"questions of hash {told.subject}, as the log says",
                fix="restore it from a backup, or: medtune release freeze",
            )
        # Not splitlines: U+2028 in a question ends no line.
        lines = self._registry.objects.load_text(suite.file).split("\n")[:-1]
        return suite, [Question.model_validate_json(line) for line in lines]

    def freeze_suite(
        self, source: str, hashed: str, questions: Sequence[Question], actor: str
    ) -> Suite:
        """Freeze the suite that every release is asked from now on.

        Args:
            source: Source of the questions.
            hashed: Hash of the questions, as `SplitDescription.hash`.
            questions: All questions.
            actor: Name for the log.
        """
        file = self._registry.objects.put_text(
            "".join(f"{q.model_dump_json()}\n" for q in questions)
        )
        suite = Suite(
            source=source, n=len(questions), hash=hashed, file=file, frozen=datetime.now(UTC)
        )
        with self._registry.writing():
            told: dict[str, Detail] = {"source": source, "n": suite.n, "file": file.sha256}
            self._registry.append_log(actor, FROZEN, hashed, told)
            write_record(self._registry.folder / "suite.json", suite)
        return suite

    def find_evidence(self, candidate: str, champion: str | None) -> EvidenceRecord | None:
        """Return the latest evidence on a release against a champion; None without any.

        Raises:
            ReleaseError: It is missing, changed, of another version, or about other releases.
        """
        ref = self.find_evidence_ref(candidate, champion)
        if ref is None:
            return None
        record = self._registry.objects.load_record(ref, EvidenceRecord)
        _check_about(record, candidate, champion)
        return record

    def find_evidence_ref(self, candidate: str, champion: str | None) -> FileRef | None:
        """Return the object of the latest evidence on a release against a champion.

        Raises:
            ReleaseError: It is missing.
        """
        line = self._find_latest(EVALUATED, candidate, champion)
        return self._file_ref(line) if line else None

    def list_evidence(self, candidate: str) -> list[EvidenceRecord]:
        """List all evidence on a release, the oldest first.

        Raises:
            ReleaseError: One is missing, changed, or of another version.
        """
        told = self._log_lines(EVALUATED, candidate)
        return [self._load_object(line, EvidenceRecord) for line in told]

    def add_evidence(self, record: EvidenceRecord, actor: str) -> None:
        """Store evidence; earlier evidence is kept."""
        ref = self._registry.objects.put_text(record.model_dump_json(indent=1))
        with self._registry.writing():
            self._registry.append_log(
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

    def list_evaluations(self, release: Release) -> tuple[CandidateEvaluation, ...]:
        """List every evaluation of a release's weights, the oldest first.

        Releases with the same weights but another name, policy or calibration count as one
        candidate.
        """
        same = {
            one.id
            for one in self._registry.read_releases()
            if _weights_identity(one) == _weights_identity(release)
        }
        fields = {"source": "data", "n": "n", "hash": "data_hash"}
        return tuple(
            CandidateEvaluation.model_validate(
                {"time": line.time, **{f: line.detail.get(d) for f, d in fields.items()}}
            )
            for line in self._registry.read_log()
            if line.action == EVALUATED and line.subject in same
        )

    def read_evidence(
        self, records: Mapping[EvidenceKind, FileRef], release: Release | None = None
    ) -> Evidence:
        """Read the measured records of a release.

        Args:
            records: References to the records.
            release: The release, which determines the evidence that is required; None for one
                that is trained and not compressed.

        Raises:
            ReleaseError: One is missing, changed, or of another version.
        """
        found = {
            kind: self._registry.objects.load_record(ref, _KINDS[kind])
            for kind, ref in records.items()
        }
        if release is None:
            return Evidence(**found)
        is_packed, is_trained = release.scheme is not None, release.is_trained
        return Evidence(is_packed=is_packed, is_trained=is_trained, **found)

    def find_verdict(self, candidate: Release, champion: str | None) -> GateRecord | None:
        """Return the latest verdict on a release against a champion; None without one.

        Raises:
            ReleaseError: It is missing, changed, or of another version.
        """
        line = self._find_latest(JUDGED, candidate.id, champion)
        if line is None:
            return None
        record = self._load_object(line, GateRecord)
        _check_about(record, candidate.id, champion)
        return record

    def find_latest_verdict(self, release: Release) -> GateRecord | None:
        """Return the latest verdict on a release, against any champion.

        Raises:
            ReleaseError: It is missing, changed, or of another version.
        """
        told = self._log_lines(JUDGED, release.id)
        return self._load_object(told[-1], GateRecord) if told else None

    def add_verdict(self, record: GateRecord, actor: str) -> None:
        """Store a verdict; earlier verdicts are kept."""
        said: dict[str, Detail] = {
            r.rule: r.outcome for r in record.results if r.outcome != "passed"
        }
        ref = self._registry.objects.put_text(record.model_dump_json(indent=1))
        told = {"champion": record.champion, "passed": record.passed, "verdict": ref.sha256}
        with self._registry.writing():
            self._registry.append_log(actor, JUDGED, record.candidate, {**told, **said})

    def _log_lines(self, action: str, release: str) -> list[AuditLine]:
        """Return the log lines of a release that name an object."""
        return [
            line
            for line in self._registry.read_log()
            if (line.action, line.subject) == (action, release) and _OBJECTS[action] in line.detail
        ]

    def _find_latest(self, action: str, release: str, champion: str | None) -> AuditLine | None:
        told = reversed(self._log_lines(action, release))
        return next((line for line in told if line.detail.get("champion") == champion), None)

    def _file_ref(self, line: AuditLine) -> FileRef:
        return self._registry.objects.file_ref(str(line.detail[_OBJECTS[line.action]]))

    def _load_object(self, line: AuditLine, kind: type[R]) -> R:
        return self._registry.objects.load_record(self._file_ref(line), kind)


def _check_about(record: EvidenceRecord | GateRecord, candidate: str, champion: str | None) -> None:
    """Check that a record is about the releases that the log names for it."""
    if (record.candidate, record.champion) != (candidate, champion):
        raise ReleaseError(
            f"the {record.kind} that the log names for {candidate[:SHORT_ID_LENGTH]} is about "
            f"{record.candidate[:SHORT_ID_LENGTH]}",
            expected="what was measured and judged of this release, beside this champion",
            fix="medtune release evaluate; medtune release gate",
        )


def _weights_identity(release: Release) -> tuple[str, str | None]:
    return release.base_fingerprint, release.weights_hash
