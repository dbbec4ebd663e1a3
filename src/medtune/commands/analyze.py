"""Analyse an evaluation (`medtune analyze`): failures, calibration, selective prediction.

Reads an evaluation folder; writes `analysis.json` and `analysis.html` beside its predictions.
"""

from __future__ import annotations

from pathlib import Path

from medtune.analysis.analyze import analyze_evaluation
from medtune.core.predictions_io import ANALYSIS_FILE, ANALYSIS_PAGE_FILE, read_evaluation
from medtune.core.run_folder import lock_folder, write_record
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.reports.comparison import write_analysis


def analyze(folder: Path, calibration: Path | None) -> AnalysisRecord:
    """Analyse a saved evaluation.

    A calibration is an evaluation of the same model on calibration questions.

    Raises:
        PredictionsError: One of them cannot be read, or they do not belong together.
        FolderError: The evaluation's folder cannot be written.
    """
    evaluation = read_evaluation(folder)
    calibrated_on = read_evaluation(calibration) if calibration is not None else None
    record = analyze_evaluation(folder.resolve().name, evaluation, calibrated_on)
    with lock_folder(folder):
        write_record(folder / ANALYSIS_FILE, record)
        write_analysis(folder / ANALYSIS_PAGE_FILE, record)
    return record
