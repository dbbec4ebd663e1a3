"""`medtune compare A B`: two evaluations of the same questions, paired.

Reads both folders; writes `comparison.json`, both analyses and `report.html`.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.predictions_io import read_evaluation
from medtune.core.records import ComparisonRecord
from medtune.core.run_folder import locked
from medtune.reports.comparison_folder import ComparedModel, compare_in


def compare(
    a: Path, b: Path, calibration_a: Path | None, calibration_b: Path | None, folder: Path
) -> ComparisonRecord:
    """Compare two saved evaluations.

    Args:
        a: Folder of the reference's.
        b: Of the candidate's.
        calibration_a: Folder of the reference on questions set apart for calibration.
        calibration_b: The same of the candidate.
        folder: Where to write.

    Raises:
        PredictionsError: One of them cannot be read, or they are not of the same questions.
        FolderError: The folder cannot be written.
    """
    first, second = _read(a, calibration_a), _read(b, calibration_b)
    with locked(folder):
        return compare_in(folder, first, second)


def _read(folder: Path, calibration: Path | None) -> ComparedModel:
    held = read_evaluation(calibration) if calibration is not None else None
    return ComparedModel(folder, read_evaluation(folder), held)
