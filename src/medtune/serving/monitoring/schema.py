"""Does the endpoint still see what it was made for? Records of drift."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from medtune.core.records import Probability, Proportion, Provenance, Record
from medtune.core.schemas.audit import AuditHead

Feature = Literal["confidence", "length", "subject"]


class DriftBin(Record):
    """One bin of a feature."""

    name: str
    """Its bounds, or a subject."""
    reference: Probability
    """Share of the reference."""
    present: Probability
    """Share of the period."""


class FeatureDrift(Record):
    """How far one feature has moved."""

    feature: Feature
    psi: float = Field(ge=0)
    """Population stability index over the bins; 0 is no change, above 0.25 usually called large."""
    p_value: Probability
    """Chance of such an index, or a larger one, without any change (Yurdakul 2018)."""
    bins: tuple[DriftBin, ...]
    n_reference: int = Field(gt=0)
    n: int = Field(gt=0)

    @property
    def moved(self) -> bool:
        """Whether it moved: more than chance explains, and enough to matter."""
        return self.p_value < 0.01 and self.psi >= 0.1


class ShadowReviewed(Record):
    """Requests that reviewers gave an answer to, by who had chosen it before."""

    both: int = Field(ge=0)
    only_champion: int = Field(ge=0)
    only_shadow: int = Field(ge=0)
    neither: int = Field(ge=0)

    @property
    def n(self) -> int:
        """All of them."""
        return self.both + self.only_champion + self.only_shadow + self.neither


class ShadowComparison(Record):
    """What one shadow made of the requests that one champion answered."""

    release: str
    """The shadow's."""
    champion: str
    """The release that answered."""
    same: int = Field(ge=0)
    """Requests on which both chose the same option."""
    agreement: Proportion | None
    """These, of all that the shadow answered; None where it answered none."""
    skipped: int = Field(ge=0)
    """Requests for which it had no time."""
    failed: int = Field(ge=0)
    """Requests on which it could not be asked."""
    unsure: Proportion | None
    """Requests that the shadow's own thresholds would have held back, of all that it answered."""
    unsure_champion: Proportion | None
    """The same of the champion, on the same requests."""
    reviewed: ShadowReviewed | None
    """None where no reviewer gave an answer to any of them."""


class MonitorRecord(Record):
    """A period of an endpoint beside a reference."""

    kind: Literal["monitor"] = "monitor"
    start: datetime
    end: datetime
    reference: str
    """An earlier period, or an evaluation."""
    statuses: dict[str, int]
    """Requests of the period by status."""
    deferred: Proportion | None
    """Deferred or waiting for a person, among what was not refused; None without any."""
    deferred_reference: Proportion | None
    drifts: tuple[FeatureDrift, ...]
    helpful: Proportion | None
    """Of the feedback that says so or not; None without any."""
    corrected: int
    """Answers whose letter an asker held to be wrong."""
    shadows: tuple[ShadowComparison, ...] = ()
    """By shadow and champion; empty where there was no shadow."""
    audit: AuditHead | None = None
    """Where the audit trail ends, to be noted elsewhere."""
    provenance: Provenance

    @property
    def moved(self) -> tuple[Feature, ...]:
        """Features that moved."""
        return tuple(drift.feature for drift in self.drifts if drift.moved)
