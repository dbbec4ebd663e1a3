"""`medtune compare A B`: two evaluation folders, question by question."""

from __future__ import annotations

from pathlib import Path

from medtune.analysis.compare import compare as compare_evaluations
from medtune.core.ledger import read_evaluation
from medtune.core.records import ComparisonRecord


def compare(a: Path, b: Path) -> ComparisonRecord:
    """Compare two saved evaluations; `a` is the reference.

    Raises:
        PredictionsError: One of them cannot be read, or they are not of the same questions.
    """
    return compare_evaluations(read_evaluation(a), read_evaluation(b))
