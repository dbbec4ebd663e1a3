"""Records of `medtune profile`: how close jobs come to the machine's matrix products."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import ModelDescription, Provenance, Record, SplitDescription


class ProductTime(Record):
    """A matrix product of one shape in a job, and how fast it is by itself."""

    rows: int
    inner: int
    columns: int
    batch: int = 1
    """Products of this shape in one call."""
    dtype: str
    calls: int
    """Calls in the job."""
    gflops: float
    """Its speed by itself, GFLOP/s: the best of many calls with operands in the cache."""
    seconds: float
    """What all calls would take at that speed."""


class JobProfile(Record):
    """One job, and the time that its matrix products need by themselves."""

    job: str
    units: int = Field(gt=0)
    """Questions, or training examples."""
    seconds: float
    products_s: float
    """Time of all its matrix products, each shape at its own speed."""
    gflop: float
    """Of all its matrix products."""
    products: tuple[ProductTime, ...]
    """By shape, the one that takes longest first."""

    @property
    def per_s(self) -> float:
        """Questions or examples per second."""
        return self.units / self.seconds

    @property
    def limit_per_s(self) -> float:
        """The same if there were nothing but matrix products."""
        return self.units / self.products_s

    @property
    def share(self) -> float:
        """Share of the job's time that its matrix products need: 1 is the limit."""
        return self.products_s / self.seconds


class ProfileRecord(Record):
    """Training and evaluation beside the limit of the machine's matrix products."""

    kind: Literal["profile"] = "profile"
    model: ModelDescription
    data: SplitDescription
    jobs: tuple[JobProfile, ...]
    provenance: Provenance
