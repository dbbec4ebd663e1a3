"""Write the report of a run: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.analysis.analyze import evaluation_faults
from medtune.analysis.forgetting import describe_forgetting, list_forgetting_caveats
from medtune.core.predictions_io import Evaluation
from medtune.core.records import (
    LETTERS,
    Outcome,
    Prediction,
    RunRecord,
)
from medtune.core.run_folder import write_text
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.reports.accuracy_table import accuracy_table
from medtune.reports.data import build_data_section
from medtune.reports.figures import plot_accuracy, plot_letters, plot_loss
from medtune.reports.methods_paragraph import describe_run_methods
from medtune.reports.templating import render_page

SHOWN_ERRORS = 20


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """One question without a right answer by the tuned model, with the base model's answer."""

    question: Prediction
    """Prediction of the tuned model."""
    right: str
    base: Prediction


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Wrong and unparsed answers of one split by the primary method."""

    split: str
    method: str
    total: int
    rows: tuple[WrongAnswer, ...]


def write_report(
    path: Path,
    record: RunRecord,
    evaluations: Sequence[Evaluation],
    manifest: SnapshotManifest,
    pages: Sequence[str] = (),
) -> None:
    """Write the report of a run.

    Args:
        path: File to write.
        record: The run.
        evaluations: Its evaluations with their predictions.
        manifest: Manifest of the data.
        pages: Pages of the comparisons, relative to this one.

    Raises:
        FolderError: The page cannot be written.
    """
    groups = record.evaluations_by_exam()
    page = render_page(
        "report.html",
        run=record,
        groups=groups,
        training=record.trainings[0],
        accuracies=accuracy_table(groups),
        accuracy=plot_accuracy([e for group in groups for e in group]),
        loss=plot_loss([one.losses for one in record.trainings]),
        letters=[(group[0].data.source, group[0].method, plot_letters(group)) for group in groups],
        notes=collect_run_caveats(record),
        forgotten=[
            (describe_forgetting(one), list_forgetting_caveats(one))
            for one in record.forgotten or ()
        ],
        pages=pages,
        methods=describe_run_methods(record, manifest),
        errors=list_error_tables(record, evaluations),
        **build_data_section(manifest),
    )
    write_text(path, page)


def collect_run_caveats(record: RunRecord) -> list[str]:
    """Return the caveats of the run's numbers."""
    return [note for evaluation in record.evaluations for note in evaluation_faults(evaluation)]


def list_error_tables(
    record: RunRecord,
    evaluations: Sequence[Evaluation],
) -> list[ErrorTable]:
    """List wrong and unparsed answers of the first tuned model, by the primary method and split."""
    exams = len(record.evaluations_by_exam())
    tables = []
    for (base, before), (_, after) in zip(
        evaluations[:exams], evaluations[exams : 2 * exams], strict=True
    ):
        if base.method != record.evaluations[0].method:
            continue
        former = {prediction.id: prediction for prediction in before}
        wrong = [p for p in after if p.outcome is not Outcome.CORRECT]
        rows = tuple(
            WrongAnswer(
                question=p,
                right=f"{LETTERS[p.answer]}. {p.options[p.answer]}",
                base=former[p.id],
            )
            for p in wrong[:SHOWN_ERRORS]
        )
        tables.append(ErrorTable(base.data.source, base.method, len(wrong), rows))
    return tables
