"""Records of imports."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import EvaluationRecord, Provenance, Record


class ImportRecord(Record):
    """Result of importing a log: the evaluations that were written."""

    kind: Literal["import"] = "import"
    log: str
    evaluations: tuple[EvaluationRecord, ...] = Field(min_length=1)
    folders: tuple[str, ...] = Field(min_length=1)
    """Folder of each evaluation, in the same order."""
    provenance: Provenance
