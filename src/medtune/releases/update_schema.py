"""From new data to a challenger: what was done, and what the gate said."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import Provenance, Record
from medtune.releases.gate_schema import GateRecord
from medtune.releases.schema import Alias


class DataChange(Record):
    """The train split beside that of the update before."""

    before: str | None
    """Hash of the split; None where there was no update before."""
    after: str
    n_before: int | None
    n_after: int
    added: int = Field(ge=0)
    """Questions by their ids."""
    removed: int = Field(ge=0)
    edited: int = Field(ge=0)
    """The same id with another text, options or answer."""
    subjects: dict[str, int]
    """By how many questions a subject grew or shrank; those that did not change are left out."""


class UpdateRecord(Record):
    """One update."""

    kind: Literal["update"] = "update"
    name: str
    """Of the experiment."""
    config_hash: str
    snapshot: str
    """Hash of the snapshot."""
    folder: str
    """Of snapshot and weights, in the folder of updates."""
    change: DataChange
    release: str
    """Name of the release."""
    verdict: GateRecord | None
    """None where it was champion or challenger before, by another way than an update."""
    alias: Alias | None
    """What the release is now; None where the gate refused it."""
    is_new: bool
    """Whether there was anything to do."""
    duration_s: float
    provenance: Provenance
