"""Compare two evaluations of the same questions (`medtune compare A B`), paired.

Reads both folders, or logs of other harnesses; writes `comparison.json`, both analyses and
`report.html`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medtune.core.model_labels import disambiguate_labels
from medtune.core.predictions_io import write_evaluation
from medtune.core.records import ComparisonRecord
from medtune.core.run_folder import lock_folder
from medtune.foreign_logs.read_log import is_log, log_folder_name, read_evaluation_or_log
from medtune.reports.comparison_folder import ComparedModel, compare_to_folder


def compare(
    a: Path, b: Path, calibration_a: Path | None, calibration_b: Path | None, folder: Path
) -> ComparisonRecord:
    """Compare two saved evaluations, or logs of other harnesses.

    b is the candidate. A calibration is an evaluation of the same model on calibration questions.

    Raises:
        PredictionsError: One of them cannot be read, or they are not of the same questions.
        FolderError: The folder cannot be written.
    """
    first, second = _distinguish(_read_model(a, calibration_a), _read_model(b, calibration_b))
    with lock_folder(folder):
        first, second = (_keep_imported(model, folder) for model in (first, second))
        return compare_to_folder(folder, first, second)


def _distinguish(a: ComparedModel, b: ComparedModel) -> tuple[ComparedModel, ComparedModel]:
    """Make equal labels distinct by the harness, or by the paths of the logs."""
    (record_a, _), (record_b, _) = a.evaluation, b.evaluation
    origins = [record.origin and record.origin.harness for record in (record_a, record_b)]
    labels = (record_a.label, record_b.label)
    if labels[0] == labels[1] and origins[0] != origins[1]:
        labels = (
            f"{labels[0]} ({origins[0] or 'medtune'})",
            f"{labels[1]} ({origins[1] or 'medtune'})",
        )
    elif any(origins):
        labels = disambiguate_labels((labels[0], a.folder), (labels[1], b.folder))
    return a.with_label(labels[0]), b.with_label(labels[1])


def _keep_imported(model: ComparedModel, folder: Path) -> ComparedModel:
    """Write an evaluation that was read from a log to the comparison's folder, for its links."""
    if not is_log(model.folder):
        return model
    kept = folder / "evaluations" / log_folder_name(model.folder)
    write_evaluation(kept, *model.evaluation)
    return replace(model, folder=kept)


def _read_model(folder: Path, calibration: Path | None) -> ComparedModel:
    calibrated_on = read_evaluation_or_log(calibration) if calibration is not None else None
    return ComparedModel(folder, read_evaluation_or_log(folder), calibrated_on)
