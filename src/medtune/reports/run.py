"""The report: one self-contained HTML page per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medtune.analysis.analyze import faults
from medtune.core.records import (
    LETTERS,
    EvaluationRecord,
    Outcome,
    Prediction,
    RunRecord,
)
from medtune.core.run_folder import write_text
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.reports.data import data_section
from medtune.reports.figures import accuracy_figure, letters_figure, loss_figure
from medtune.reports.templating import render

SHOWN_ERRORS = 20


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """One question that the tuned model got wrong, beside the base model's answer."""

    question: Prediction
    """As the tuned model answered it."""
    right: str
    base: Prediction


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Wrong answers of one split under the primary method."""

    split: str
    method: str
    total: int
    rows: tuple[WrongAnswer, ...]


def write_report(
    path: Path,
    record: RunRecord,
    evaluations: Sequence[tuple[EvaluationRecord, Sequence[Prediction]]],
    manifest: SnapshotManifest,
    pages: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        path: Where to.
        record: The run.
        evaluations: Its evaluations with their predictions.
        manifest: The data.
        pages: Of the comparisons, relative to this one.

    Raises:
        FolderError: The page cannot be written.
    """
    groups = record.side_by_side()
    page = render(
        "report.html",
        run=record,
        groups=groups,
        training=record.trainings[0],
        accuracy=accuracy_figure([e for group in groups for e in group]),
        loss=loss_figure([one.losses for one in record.trainings]),
        letters=[
            (group[0].data.source, group[0].method, letters_figure(group)) for group in groups
        ],
        notes=notes(record),
        pages=pages,
        errors=error_tables(record, evaluations),
        **data_section(manifest),
    )
    write_text(path, page)


def notes(record: RunRecord) -> list[str]:
    """Say what a reader must know before believing a number."""
    return [note for evaluation in record.evaluations for note in faults(evaluation)]


def error_tables(
    record: RunRecord,
    evaluations: Sequence[tuple[EvaluationRecord, Sequence[Prediction]]],
) -> list[ErrorTable]:
    """List wrong answers of the (first) tuned model under the primary method, split by split."""
    exams = len(record.side_by_side())
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
