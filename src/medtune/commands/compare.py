"""Compare two evaluations of the same questions (`medtune compare A B`), paired.

Reads both folders; writes `comparison.json`, both analyses and `report.html`.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.predictions_io import read_evaluation
from medtune.core.records import ComparisonRecord
from medtune.core.run_folder import lock_folder
from medtune.reports.comparison_folder import ComparedModel, compare_to_folder


def compare(
    a: Path, b: Path, calibration_a: Path | None, calibration_b: Path | None, folder: Path
) -> ComparisonRecord:
    """Compare two saved evaluations.

    b is the candidate. A calibration is an evaluation of the same model on calibration questions.

    Raises:
        PredictionsError: One of them cannot be read, or they are not of the same questions.
        FolderError: The folder cannot be written.
    """
    first, second = _read_model(a, calibration_a), _read_model(b, calibration_b)
    with lock_folder(folder):
        return compare_to_folder(folder, first, second)


def _read_model(folder: Path, calibration: Path | None) -> ComparedModel:
    calibrated_on = read_evaluation(calibration) if calibration is not None else None
    return ComparedModel(folder, read_evaluation(folder), calibrated_on)
