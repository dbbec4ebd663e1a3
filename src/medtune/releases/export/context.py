"""The release and its records, as the cards read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medtune.core.records import Record, SplitDescription
from medtune.releases.export.schema import Standing
from medtune.releases.gate_schema import Evidence, EvidenceKind, GateRecord
from medtune.releases.schema import FileRef, Release


class ReleaseContext(Record):
    """A release with its latest verdict, its evidence and its exported files."""

    release: Release
    verdict: GateRecord | None = None
    """None if the gate has not judged the release."""
    evidence: Evidence = Evidence()
    """The evidence of the verdict, or without one the latest evidence."""
    records: Mapping[EvidenceKind, FileRef] = {}
    """References to the records of the evidence."""
    measured: FileRef | None = None
    """The evidence record that names them."""
    files: Mapping[str, FileRef] = {}
    """Exported files beside the cards, by path."""
    changed: tuple[str, ...] = ()
    """Exported files whose bytes differ from the release's."""
    hub_base: str | None = None
    """Name of the base model on the Hub; None if it is not there."""
    base_note: str | None = None
    """How the base differs from the one on the Hub."""
    licence: str | None = None
    """Licence of the weights, an SPDX id if there is one; None if unknown."""
    licences: Mapping[str, str] = {}
    """Licences of the questions, by source."""

    @property
    def standing(self) -> Standing:
        """The gate's latest verdict on the release."""
        if self.verdict is None:
            return "not asked"
        return "passed" if self.verdict.passed else "refused"


def evaluated_splits(evidence: Evidence) -> Iterator[tuple[str, SplitDescription]]:
    """Yield the splits that the release was evaluated on, each with its use."""
    if evidence.analysis is not None:
        yield "evaluate", evidence.analysis.evaluation.data
    if evidence.packed is not None:
        yield "compare packed with unpacked weights", evidence.packed.reference.data
    if evidence.bench is not None:
        yield "measure speed", evidence.bench.data
