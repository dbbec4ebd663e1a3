"""What is known of one release when its cards are written."""

from __future__ import annotations

from collections.abc import Mapping

from medtune.core.records import Record
from medtune.releases.export.schema import Standing
from medtune.releases.gate_schema import Evidence, EvidenceKind, GateRecord
from medtune.releases.schema import FileRef, Release


class ReleaseContext(Record):
    """A release, what the gate said last of it, and what the gate looked at."""

    release: Release
    verdict: GateRecord | None = None
    """None where the gate was not asked."""
    evidence: Evidence = Evidence()
    """What the gate looked at; where it was not asked, what was measured for it."""
    records: Mapping[EvidenceKind, FileRef] = {}
    """The same, by the hash of each record."""
    measured: FileRef | None = None
    """The record that names them, and what they were measured with."""
    files: Mapping[str, FileRef] = {}
    """What stands beside the cards, by path."""
    changed: tuple[str, ...] = ()
    """Of these, what is not byte by byte what was released."""
    hub_base: str | None = None
    """Name of the base model on the Hub; None where it has none."""
    base_note: str | None = None
    """In what the base differs from the one on the Hub."""
    licence: str | None = None
    """Of the weights, as an SPDX name where there is one; None where nobody said."""
    licences: Mapping[str, str] = {}
    """Of questions, by their source."""

    @property
    def standing(self) -> Standing:
        """What the gate said last."""
        if self.verdict is None:
            return "not asked"
        return "passed" if self.verdict.passed else "refused"
