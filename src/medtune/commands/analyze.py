"""`medtune analyze EVALUATION`: where it fails, how sure it was, when it had better not answer.

Reads an evaluation's folder; writes `analysis.json` and `analysis.html` beside its predictions.
"""

from __future__ import annotations

from pathlib import Path

from medtune.analysis.analyze import analyze as analyze_evaluation
from medtune.core.predictions_io import ANALYSIS, ANALYSIS_PAGE, read_evaluation
from medtune.core.run_folder import locked, write_record
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.reports.comparison import write_analysis


def analyze(folder: Path, calibration: Path | None) -> AnalysisRecord:
    """Analyse a saved evaluation.

    Args:
        folder: The evaluation's.
        calibration: That of the same model on questions set apart for calibration.

    Raises:
        PredictionsError: One of them cannot be read, or they do not belong together.
        FolderError: The evaluation's folder cannot be written.
    """
    evaluation = read_evaluation(folder)
    held = read_evaluation(calibration) if calibration is not None else None
    record = analyze_evaluation(folder.resolve().name, evaluation, held)
    with locked(folder):
        write_record(folder / ANALYSIS, record)
        write_analysis(folder / ANALYSIS_PAGE, record)
    return record
