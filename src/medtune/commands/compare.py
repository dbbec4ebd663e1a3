"""Compare two evaluations of the same questions (`medtune compare A B`), paired.

Reads evaluations, or logs of other harnesses; writes `comparison.json`, both analyses and
`report.html`.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.predictions_io import Evaluation
from medtune.core.run_folder import as_path
from medtune.foreign_logs.read_log import read_evaluation_or_log
from medtune.reports.comparison_folder import ComparedModel, Comparison


def compare(
    a: Evaluation | str | Path,
    b: Evaluation | str | Path,
    *,
    calibration_a: Evaluation | str | Path | None = None,
    calibration_b: Evaluation | str | Path | None = None,
    out: str | Path | None = None,
) -> Comparison:
    """Compare two evaluations of the same questions, paired.

    Args:
        a: Evaluation of the reference, its folder, or a log of another harness.
        b: Evaluation of the candidate, its folder, or a log of another harness.
        calibration_a: Evaluation of the reference on calibration questions.
        calibration_b: Evaluation of the candidate on the same calibration questions.
        out: Folder to write; None writes nothing, and `save` does it later.

    Raises:
        PredictionsError: One of them cannot be read, or they are not of the same questions.
        FolderError: The folder cannot be written.
    """
    found = Comparison.of(_model(a, calibration_a), _model(b, calibration_b))
    return found if out is None else found.save(out)


def _model(
    given: Evaluation | str | Path, calibration: Evaluation | str | Path | None
) -> ComparedModel:
    own = read_evaluation_or_log(given)
    fitted_on = None if calibration is None else read_evaluation_or_log(calibration)
    path = own.folder if isinstance(given, Evaluation) else as_path(given)
    return ComparedModel(own.folder, own, fitted_on, path)
