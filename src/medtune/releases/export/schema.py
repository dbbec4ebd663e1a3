"""What an export of a release tells of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import Record
from medtune.releases.schema import Alias

Standing = Literal["passed", "refused", "not asked"]
"""What the gate said last of a release."""


class ExportRecord(Record):
    """A release, written to a folder that others can read."""

    kind: Literal["release export"] = "release export"
    id: str
    name: str
    folder: str
    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    standing: Standing
    texts: bool
    """Whether questions' texts stayed in the evidence."""
    changed: tuple[str, ...]
    """Files that are not byte by byte what was released."""
    bom_faults: tuple[str, ...] | None
    """What the official schema holds against the bill of materials; None where it was not asked."""


class MlflowRecord(Record):
    """A release, registered in MLflow."""

    kind: Literal["mlflow export"] = "mlflow export"
    id: str
    name: str
    run_id: str
    model: str
    """Name of the registered model."""
    version: int
    aliases: tuple[Alias, ...]
    """Of this version, as in the registry."""
    made: bool
    """Whether the version is a new one."""
    metrics: int
    """Numbers that the run holds."""
