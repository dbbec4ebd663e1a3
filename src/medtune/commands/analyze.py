"""Analyse an evaluation (`medtune analyze`): failures, calibration, selective prediction.

Writes `analysis.json` and `analysis.html` beside the evaluation's predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medtune.analysis.analyze import analyze_evaluation
from medtune.core.display.frames import make_frame, proportion_cells
from medtune.core.display.html import render_result
from medtune.core.formatting import format_interval, format_percent
from medtune.core.predictions_io import ANALYSIS_FILE, ANALYSIS_PAGE_FILE, Evaluation
from medtune.core.run_folder import as_path, lock_folder, write_record
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.foreign_logs.read_log import is_log, log_folder_name, read_evaluation_or_log
from medtune.reports.comparison import write_analysis

if TYPE_CHECKING:
    import pandas


def analysis_folder(evaluation: Path) -> Path:
    """Return the folder of an analysis: the evaluation's own; for a log, one under runs/eval."""
    if is_log(evaluation):
        return Path("runs") / "eval" / log_folder_name(evaluation)
    return evaluation


@dataclass(frozen=True, repr=False)
class Analysis:
    """An analysis of one evaluation, with what it is of."""

    record: AnalysisRecord
    evaluation: Evaluation

    @property
    def folder(self) -> Path | None:
        """Return the folder of the evaluation, in which a saved analysis lies; None in memory."""
        return self.evaluation.folder

    def __repr__(self) -> str:
        return f"<Analysis of {self.evaluation!r}>"

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame with a row for each slice of the questions.

        Raises:
            MedtuneError: pandas is not installed.
        """
        return make_frame(
            {
                "dimension": found.dimension,
                "name": found.name,
                **proportion_cells("accuracy", found.accuracy),
                "n": found.accuracy.n,
                "weak": found.weak,
            }
            for found in self.record.slices
        )

    def save(self, folder: str | Path) -> Analysis:
        """Write the analysis and its page to a folder, beside the predictions.

        An evaluation that is not in the folder is written as well.

        Raises:
            FolderError: The folder cannot be written, or contains another evaluation.
        """
        place, own = as_path(folder), self.evaluation
        with lock_folder(place):
            if own.folder is None or own.folder.resolve() != place.resolve():
                own = own.save(place)
            record = self.record.model_copy(update={"folder": place.resolve().name})
            write_record(place / ANALYSIS_FILE, record)
            write_analysis(place / ANALYSIS_PAGE_FILE, record)
        return Analysis(record, own)

    def _repr_html_(self) -> str:
        """Show the slices and the warnings in a notebook."""
        rows = [
            (
                found.dimension,
                found.name,
                format_percent(found.accuracy.value),
                format_interval(found.accuracy),
                found.accuracy.n,
            )
            for found in self.record.slices
        ]
        exam = self.record.evaluation
        title = f"{exam.label} on {exam.data.source}, method {exam.method}: accuracy by slice"
        headers = ("dimension", "slice", "correct %", "95 %", "n")
        return render_result(title, headers, rows, self.record.warnings)


def analyze(
    evaluation: Evaluation | str | Path, calibration: Evaluation | str | Path | None = None
) -> Analysis:
    """Analyse an evaluation: failures, calibration, selective prediction.

    Args:
        evaluation: The evaluation, its folder, or a log of another harness.
        calibration: Evaluation of the same model on calibration questions, for temperature,
            thresholds and prediction sets.

    Raises:
        PredictionsError: One of them cannot be read, or they do not belong together.
    """
    own = read_evaluation_or_log(evaluation)
    fitted_on = None if calibration is None else read_evaluation_or_log(calibration)
    name = own.record.label if own.folder is None else own.folder.resolve().name
    return Analysis(analyze_evaluation(name, own, fitted_on), own)
