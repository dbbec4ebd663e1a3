"""Does the endpoint still see what it was made for? Records of drift."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from medtune.core.records import Probability, Proportion, Provenance, Record

Feature = Literal["confidence", "length", "subject"]


class DriftBin(Record):
    """One bin of a feature."""

    name: str
    """Its bounds, or a subject."""
    reference: Probability
    """Share of the reference."""
    present: Probability
    """Share of the period."""


class Drift(Record):
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
    drifts: tuple[Drift, ...]
    helpful: Proportion | None
    """Of the feedback that says so or not; None without any."""
    corrected: int
    """Answers whose letter an asker held to be wrong."""
    provenance: Provenance

    @property
    def moved(self) -> tuple[Feature, ...]:
        """Features that moved."""
        return tuple(drift.feature for drift in self.drifts if drift.moved)
