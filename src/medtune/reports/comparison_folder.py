"""A comparison on disk: `comparison.json`, `slices.json`, both analyses and `report.html`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medtune.analysis.analyze import Evaluation, analyze
from medtune.analysis.breakdown import ALPHA, holm
from medtune.analysis.compare import compare
from medtune.analysis.paired_slices import changed, paired_slices
from medtune.core.formatting import equation
from medtune.core.model_labels import distinct_labels
from medtune.core.records import ComparisonRecord
from medtune.core.run_folder import write_record
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlices
from medtune.reports.comparison import write_comparison


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One side of a comparison."""

    folder: Path
    """Where the evaluation lies."""
    evaluation: Evaluation
    calibration: Evaluation | None = None
    """The same model on questions set apart for calibration."""

    def labelled(self, label: str) -> ComparedModel:
        """Call it by another name."""
        record, predictions = self.evaluation
        renamed = record.model_copy(update={"label": label})
        return replace(self, evaluation=(renamed, predictions))

    def analysis(self, page: Path) -> AnalysisRecord:
        """Analyse it, for a page in the folder `page`."""
        return analyze(os.path.relpath(self.folder, page), self.evaluation, self.calibration)


def compare_in(
    folder: Path, a: ComparedModel, b: ComparedModel, *, releases: bool = False
) -> ComparisonRecord:
    """Compare two evaluations, or `releases`, and write the folder; the caller holds its lock.

    Raises:
        PredictionsError: They are not of the same questions, or a calibration does not fit.
        FolderError: The folder cannot be written.
    """
    name_a, name_b = distinct_labels(
        (a.evaluation[0].label, a.folder), (b.evaluation[0].label, b.folder)
    )
    a, b = a.labelled(name_a), b.labelled(name_b)
    record = compare(a.evaluation, b.evaluation, releases=releases)
    write_compared(folder, record, a, b)
    return record


def write_compared(
    folder: Path, record: ComparisonRecord, a: ComparedModel, b: ComparedModel
) -> None:
    """Analyse both sides of a comparison, and write all that belongs to it.

    Raises:
        PredictionsError: A calibration does not fit.
        FolderError: The folder cannot be written.
    """
    found_a, found_b = a.analysis(folder), b.analysis(folder)
    predictions = a.evaluation[1], b.evaluation[1]
    slices = paired_slices(*predictions)
    write_record(folder / "comparison.json", record)
    write_record(folder / "slices.json", PairedSlices(slices=slices))
    write_record(folder / "analysis-a.json", found_a)
    write_record(folder / "analysis-b.json", found_b)
    page = folder / "report.html"
    write_comparison(page, record, found_a, found_b, slices, changed(*predictions))


def corrected(records: Sequence[ComparisonRecord]) -> list[ComparisonRecord]:
    """Correct the p-values of several comparisons for their number (Holm 1979).

    A verdict that does not stand the correction says so in a note.
    """
    if len(records) < 2:
        return list(records)
    made = []
    for record, p in zip(records, holm([r.p_value for r in records]), strict=True):
        notes = record.notes
        if record.p_value < ALPHA <= p:
            notes += (
                f"This does not stand Holm's correction over the {len(records)} comparisons of "
                f"the run (p {equation(p)}).",
            )
        made.append(record.model_copy(update={"p_holm": p, "notes": notes}))
    return made
