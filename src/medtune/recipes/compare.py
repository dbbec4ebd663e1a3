"""`medtune compare A B`: two evaluations of the same questions, paired.

Reads both folders; writes `comparison.json`, both analyses and `report.html`.
"""

from __future__ import annotations

import os
from pathlib import Path

from medtune.analysis.analyze import Evaluation, analyze
from medtune.analysis.compare import compare as compare_evaluations
from medtune.analysis.comparison_page import write_comparison
from medtune.analysis.paired import changed, paired_slices
from medtune.core.folder import locked, write_record
from medtune.core.ledger import read_evaluation
from medtune.core.records import ComparisonRecord


def compare(
    a: Path, b: Path, calibration_a: Path | None, calibration_b: Path | None, folder: Path
) -> ComparisonRecord:
    """Compare two saved evaluations; `a` is the reference.

    Raises:
        PredictionsError: One of them cannot be read, or they are not of the same questions.
        FolderError: The report's folder cannot be written.
    """
    first, second = read_evaluation(a), read_evaluation(b)
    record = compare_evaluations(first, second)
    found_a = analyze(os.path.relpath(a, folder), first, _calibration(calibration_a))
    found_b = analyze(os.path.relpath(b, folder), second, _calibration(calibration_b))
    with locked(folder):
        write_record(folder / "comparison.json", record)
        write_record(folder / "analysis-a.json", found_a)
        write_record(folder / "analysis-b.json", found_b)
        write_comparison(
            folder / "report.html",
            record,
            found_a,
            found_b,
            paired_slices(first[1], second[1]),
            changed(first[1], second[1]),
        )
    return record


def _calibration(folder: Path | None) -> Evaluation | None:
    return read_evaluation(folder) if folder is not None else None
