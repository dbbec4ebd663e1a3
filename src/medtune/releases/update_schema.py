"""Records of an update: the data change, the new release and its verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import Provenance, Record
from medtune.releases.gate_schema import GateRecord
from medtune.releases.schema import Alias


class DataChange(Record):
    """Changes of the train split since the previous update."""

    before: str | None
    """Hash of the previous split; None for the first update."""
    after: str
    n_before: int | None
    n_after: int
    added: int = Field(ge=0)
    """Number of questions with new ids."""
    removed: int = Field(ge=0)
    edited: int = Field(ge=0)
    """Number of questions with the same id and another text, option or answer."""
    subjects: dict[str, int]
    """Change of the number of questions by subject; unchanged ones are left out."""


class UpdateRecord(Record):
    """One update."""

    kind: Literal["update"] = "update"
    name: str
    """Name of the experiment."""
    config_hash: str
    snapshot: str
    """Hash of the snapshot."""
    folder: str
    """Folder of snapshot and weights, within the folder of updates."""
    change: DataChange
    release: str
    """Name of the release."""
    verdict: GateRecord | None
    """None if it had become champion or challenger without an update."""
    alias: Alias | None
    """Alias of the release; None if the gate refused it."""
    is_new: bool
    """Whether a new release was built."""
    duration_s: float
    provenance: Provenance
