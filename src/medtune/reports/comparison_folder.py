"""Write the folder of a comparison: records, slices, both analyses and `report.html`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medtune.analysis.analyze import RecordedEvaluation, analyze_evaluation
from medtune.analysis.breakdown import ALPHA, holm_correction
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.paired_slices import compare_slices, find_changed_answers
from medtune.core.formatting import format_p_value
from medtune.core.model_labels import disambiguate_labels
from medtune.core.records import ComparisonRecord
from medtune.core.run_folder import read_record, write_record
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlice, PairedSlices
from medtune.reports.comparison import write_comparison

COMPARISON_FILE, SLICES_FILE = "comparison.json", "slices.json"


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One side of a comparison."""

    folder: Path
    """Evaluation folder."""
    evaluation: RecordedEvaluation
    calibration: RecordedEvaluation | None = None
    """Evaluation of the same model on calibration questions."""

    def with_label(self, label: str) -> ComparedModel:
        """Return this model with another label."""
        record, predictions = self.evaluation
        renamed = record.model_copy(update={"label": label})
        return replace(self, evaluation=(renamed, predictions))

    def analyze(self, page: Path) -> AnalysisRecord:
        """Analyse the evaluation, with paths relative to the folder `page`."""
        return analyze_evaluation(
            os.path.relpath(self.folder, page), self.evaluation, self.calibration
        )


@dataclass(frozen=True, slots=True)
class SavedComparison:
    """The records of a comparison's folder."""

    record: ComparisonRecord
    a: AnalysisRecord
    b: AnalysisRecord
    slices: tuple[PairedSlice, ...]


def find_comparison(folder: Path) -> SavedComparison | None:
    """Read a comparison from its folder; None if a record is missing or of another schema."""
    record = read_record(folder / COMPARISON_FILE, ComparisonRecord)
    a, b = (read_record(folder / f"analysis-{key}.json", AnalysisRecord) for key in "ab")
    slices = read_record(folder / SLICES_FILE, PairedSlices)
    if record is None or a is None or b is None or slices is None:
        return None
    return SavedComparison(record, a, b, slices.slices)


def compare_to_folder(
    folder: Path, a: ComparedModel, b: ComparedModel, *, releases: bool = False
) -> ComparisonRecord:
    """Compare two evaluations, or two `releases`, and write the folder, which must be locked.

    Raises:
        PredictionsError: They are not of the same questions, or a calibration does not match.
        FolderError: The folder cannot be written.
    """
    name_a, name_b = disambiguate_labels(
        (a.evaluation[0].label, a.folder), (b.evaluation[0].label, b.folder)
    )
    a, b = a.with_label(name_a), b.with_label(name_b)
    record = compare_evaluations(a.evaluation, b.evaluation, releases=releases)
    write_comparison_folder(folder, record, a, b)
    return record


def write_comparison_folder(
    folder: Path, record: ComparisonRecord, a: ComparedModel, b: ComparedModel
) -> None:
    """Analyse both models of a comparison; write all its records and the page.

    Raises:
        PredictionsError: A calibration does not match.
        FolderError: The folder cannot be written.
    """
    found_a, found_b = a.analyze(folder), b.analyze(folder)
    predictions = a.evaluation[1], b.evaluation[1]
    slices = compare_slices(*predictions)
    write_record(folder / COMPARISON_FILE, record)
    write_record(folder / SLICES_FILE, PairedSlices(slices=slices))
    write_record(folder / "analysis-a.json", found_a)
    write_record(folder / "analysis-b.json", found_b)
    page = folder / "report.html"
    write_comparison(page, record, found_a, found_b, slices, find_changed_answers(*predictions))


def apply_holm_correction(records: Sequence[ComparisonRecord]) -> list[ComparisonRecord]:
    """Apply Holm's correction to the p-values of several comparisons (Holm 1979).

    A comparison that is no longer significant gets a note.
    """
    if len(records) < 2:
        return list(records)
    made = []
    for record, p in zip(records, holm_correction([r.p_value for r in records]), strict=True):
        notes = record.notes
        if record.p_value < ALPHA <= p:
            notes += (
                f"This does not stand Holm's correction over the {len(records)} comparisons of "
                f"the run (p {format_p_value(p)}).",
            )
        made.append(record.model_copy(update={"p_holm": p, "notes": notes}))
    return made
