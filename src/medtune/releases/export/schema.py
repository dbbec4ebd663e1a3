"""Records of an export."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import Record
from medtune.releases.schema import Alias

Standing = Literal["passed", "refused", "not asked"]
"""The latest verdict of the gate on a release."""


class ExportRecord(Record):
    """A release exported to a folder."""

    kind: Literal["release export"] = "release export"
    id: str
    name: str
    folder: str
    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    standing: Standing
    texts: bool
    """Whether questions' texts are in the evidence."""
    changed: tuple[str, ...]
    """Files whose bytes differ from the release's."""
    bom_faults: tuple[str, ...] | None
    """Schema faults of the bill of materials; None if it was not validated."""
    no_hub_result: str | None = None
    """Why no result is in `.eval_results`; None if there is one."""


class PushRecord(Record):
    """A release uploaded to the Hub."""

    kind: Literal["release push"] = "release push"
    id: str
    name: str
    repository: str
    """ORG/NAME on the Hub."""
    revision: str
    """Branch."""
    private: bool
    commit: str
    url: str
    """Page of the commit."""
    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    texts: bool
    """Whether questions' texts are in the evidence."""


class MlflowRecord(Record):
    """A release registered in MLflow."""

    kind: Literal["mlflow export"] = "mlflow export"
    id: str
    name: str
    run_id: str
    model: str
    """Name of the registered model."""
    version: int
    aliases: tuple[Alias, ...]
    """Aliases of this version, as in the registry."""
    made: bool
    """Whether the version was created."""
    metrics: int
    """Number of metrics of the run."""
