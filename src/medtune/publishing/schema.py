"""Record of an export."""

from __future__ import annotations

from typing import Literal

from medtune.core.records import Record

ExportFormat = Literal["every-eval-ever", "eval-results"]
Relationship = Literal["first_party", "third_party", "collaborative", "other"]
"""Relation of those who evaluated to the model, as Every Eval Ever names it."""


class EvaluationExport(Record):
    """An evaluation that was exported."""

    kind: Literal["evaluation export"] = "evaluation export"
    format: ExportFormat
    folder: str
    """Folder of the evaluation."""
    files: tuple[str, ...]
    """Written files."""
    n: int
    """Questions of the evaluation."""
    texts: bool
    """Whether the files contain questions' texts."""
