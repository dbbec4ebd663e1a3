"""Analyse an evaluation (`medtune analyze`): failures, calibration, selective prediction.

Reads an evaluation folder; writes `analysis.json` and `analysis.html` beside its predictions.
"""

from __future__ import annotations

from pathlib import Path

from medtune.analysis.analyze import analyze_evaluation
from medtune.core.predictions_io import ANALYSIS_FILE, ANALYSIS_PAGE_FILE, write_evaluation
from medtune.core.run_folder import lock_folder, write_record
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.foreign_logs.read_log import is_log, log_folder_name, read_evaluation_or_log
from medtune.reports.comparison import write_analysis


def analysis_folder(evaluation: Path) -> Path:
    """Return the folder of an analysis: the evaluation's own; for a log, one under runs/eval."""
    if is_log(evaluation):
        return Path("runs") / "eval" / log_folder_name(evaluation)
    return evaluation


def analyze(folder: Path, calibration: Path | None) -> AnalysisRecord:
    """Analyse a saved evaluation.

    A calibration is an evaluation of the same model on calibration questions.

    Raises:
        PredictionsError: One of them cannot be read, or they do not belong together.
        FolderError: The evaluation's folder cannot be written.
    """
    evaluation = read_evaluation_or_log(folder)
    imported, folder = is_log(folder), analysis_folder(folder)
    calibrated_on = read_evaluation_or_log(calibration) if calibration is not None else None
    record = analyze_evaluation(folder.resolve().name, evaluation, calibrated_on)
    with lock_folder(folder):
        if imported:
            write_evaluation(folder, *evaluation)
        write_record(folder / ANALYSIS_FILE, record)
        write_analysis(folder / ANALYSIS_PAGE_FILE, record)
    return record
