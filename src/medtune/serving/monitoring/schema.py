"""Records of drift and of shadow comparisons."""

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
    """Bounds of the bin, or a subject."""
    reference: Probability
    """Share in the reference."""
    present: Probability
    """Share in the period."""


class FeatureDrift(Record):
    """Drift of one feature."""

    feature: Feature
    psi: float = Field(ge=0)
    """Population stability index; 0 is no drift, above 0.25 is usually called large."""
    p_value: Probability
    """Probability of such an index or a larger one without drift (Yurdakul 2018)."""
    bins: tuple[DriftBin, ...]
    n_reference: int = Field(gt=0)
    n: int = Field(gt=0)

    @property
    def has_drifted(self) -> bool:
        """Whether it has drifted: significantly (p < 0.01) and with an index of at least 0.1."""
        return self.p_value < 0.01 and self.psi >= 0.1


class ShadowReviewed(Record):
    """Requests that reviewers answered, by which model had chosen that answer."""

    both: int = Field(ge=0)
    only_champion: int = Field(ge=0)
    only_shadow: int = Field(ge=0)
    neither: int = Field(ge=0)

    @property
    def n(self) -> int:
        """Number of these requests."""
        return self.both + self.only_champion + self.only_shadow + self.neither


class ShadowComparison(Record):
    """A shadow's answers to the requests that one champion answered."""

    release: str
    """Release of the shadow."""
    champion: str
    """The release that answered."""
    same: int = Field(ge=0)
    """Requests on which both chose the same option."""
    agreement: Proportion | None
    """Share of these among all that the shadow answered; None if it answered none."""
    skipped: int = Field(ge=0)
    """Requests skipped for lack of time."""
    failed: int = Field(ge=0)
    """Requests on which the shadow failed."""
    unsure: Proportion | None
    """Share of its answers that the shadow's own thresholds would have held back."""
    unsure_champion: Proportion | None
    """The same for the champion, on the same requests."""
    reviewed: ShadowReviewed | None
    """None if no reviewer answered any of them."""


class MonitorRecord(Record):
    """A period of an endpoint, compared with a reference."""

    kind: Literal["monitor"] = "monitor"
    start: datetime
    end: datetime
    reference: str
    """An earlier period, or an evaluation."""
    statuses: dict[str, int]
    """Requests of the period by status."""
    deferred: Proportion | None
    """Share deferred or held for a reviewer, of those not refused; None without any."""
    deferred_reference: Proportion | None
    drifts: tuple[FeatureDrift, ...]
    helpful: Proportion | None
    """Share of helpful feedback, of that which says so or not; None without any."""
    corrected: int
    """Feedback that names another letter than the model's."""
    shadows: tuple[ShadowComparison, ...] = ()
    """By shadow and champion; empty without a shadow."""
    audit: AuditHead | None = None
    """Head of the audit trail, to be noted elsewhere."""
    provenance: Provenance

    @property
    def drifted_features(self) -> tuple[Feature, ...]:
        """Features that have drifted."""
        return tuple(drift.feature for drift in self.drifts if drift.has_drifted)
