"""Write the folder of a comparison: records, slices, both analyses and `report.html`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medtune.analysis.analyze import analyze_evaluation
from medtune.analysis.breakdown import ALPHA, holm_correction
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.paired_slices import compare_slices, find_changed_answers
from medtune.core.display.frames import make_frame, proportion_cells
from medtune.core.display.html import render_result
from medtune.core.errors import PredictionsError
from medtune.core.formatting import format_interval, format_p_value, format_percent
from medtune.core.model_names import disambiguate_labels
from medtune.core.predictions_io import Evaluation, read_evaluation
from medtune.core.records import ComparisonRecord
from medtune.core.run_folder import (
    as_path,
    lock_folder,
    read_record,
    translate_disk_errors,
    write_record,
)
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlice, PairedSlices
from medtune.reports.comparison import write_comparison

COMPARISON_FILE = "comparison.json"
SLICES_FILE = "slices.json"
ANALYSIS_FILES = ("analysis-a.json", "analysis-b.json")
PAGE_FILE = "report.html"

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One side of a comparison."""

    folder: Path | None
    """Evaluation folder; None for an evaluation in memory."""
    evaluation: Evaluation
    calibration: Evaluation | None = None
    """Evaluation of the same model on calibration questions."""
    path: Path | None = None
    """Path that tells it from another of the same label; None is the folder."""

    def with_label(self, label: str) -> ComparedModel:
        """Return this model with another label."""
        record, predictions = self.evaluation
        renamed = record.model_copy(update={"label": label})
        return replace(self, evaluation=Evaluation(renamed, predictions, self.folder))

    def written_to(self, folder: Path) -> ComparedModel:
        """Write the evaluation to a folder, and return this model there.

        Raises:
            FolderError: The folder cannot be written, or contains another evaluation.
        """
        return replace(self, folder=folder, evaluation=self.evaluation.save(folder))

    def analyze(self, page: Path) -> AnalysisRecord:
        """Analyse the evaluation, with paths relative to the folder `page`."""
        assert self.folder is not None, "a page links to the evaluation"
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
    """Read a comparison from its folder; None if a record is missing or of another schema.

    Equal labels are told apart, and the analyses have the labels of the comparison.
    """
    record = read_record(folder / COMPARISON_FILE, ComparisonRecord)
    a, b = (read_record(folder / name, AnalysisRecord) for name in ANALYSIS_FILES)
    slices = read_record(folder / SLICES_FILE, PairedSlices)
    if record is None or a is None or b is None or slices is None:
        return None
    names = disambiguate_labels((record.a, folder / a.folder), (record.b, folder / b.folder))
    record = record.model_copy(update=dict(zip("ab", names, strict=True)))
    a, b = (
        found.model_copy(update={"evaluation": found.evaluation.model_copy(update={"label": name})})
        for found, name in zip((a, b), names, strict=True)
    )
    return SavedComparison(record, a, b, slices.slices)


@dataclass(frozen=True, repr=False)
class Comparison:
    """A paired comparison of two evaluations, with its slices."""

    record: ComparisonRecord
    slices: tuple[PairedSlice, ...]
    models: tuple[ComparedModel, ComparedModel] | None = None
    """Reference and candidate; None for a comparison that was loaded."""
    folder: Path | None = None
    """Folder that it was written to or read from; None where it is in memory only."""

    @classmethod
    def of(cls, a: ComparedModel, b: ComparedModel, *, releases: bool = False) -> Comparison:
        """Compare two evaluations, or two `releases`; b is the candidate.

        Raises:
            PredictionsError: They are not of the same questions.
        """
        a, b = _distinguish_harnesses(a, b)
        name_a, name_b = disambiguate_labels(
            (a.evaluation.record.label, a.path or a.folder or Path("a")),
            (b.evaluation.record.label, b.path or b.folder or Path("b")),
        )
        a, b = a.with_label(name_a), b.with_label(name_b)
        record = compare_evaluations(a.evaluation, b.evaluation, releases=releases)
        slices = compare_slices(a.evaluation.predictions, b.evaluation.predictions)
        return cls(record, slices, (a, b))

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Load a comparison from the folder that `save` or `medtune compare` wrote.

        Raises:
            PredictionsError: There is none, or one of another version.
        """
        place = as_path(folder)
        if (found := find_comparison(place)) is None:
            raise PredictionsError(
                f"{place} holds no comparison",
                expected=", ".join((COMPARISON_FILE, SLICES_FILE, *ANALYSIS_FILES))
                + ", as `medtune compare` writes them",
            )
        return cls(found.record, found.slices, folder=place)

    def __repr__(self) -> str:
        return f"<Comparison: {self.verdict}>"

    @property
    def difference(self) -> float:
        """Return the candidate's accuracy minus the reference's, between -1 and 1."""
        return self.record.difference

    @property
    def p_value(self) -> float:
        """Return the exact McNemar p-value, two-sided."""
        return self.record.p_value

    @property
    def verdict(self) -> str:
        """Return the verdict in one sentence."""
        return self.record.verdict

    def save(self, folder: str | Path) -> Comparison:
        """Write the comparison, both analyses and `report.html`; return the comparison there.

        Evaluations that are in memory are written to `evaluations/`.

        Raises:
            PredictionsError: A calibration does not match.
            FolderError: The folder cannot be written.
        """
        place = as_path(folder)
        with lock_folder(place):
            if self.models is None:
                assert self.folder is not None, "it was loaded"
                if self.folder.resolve() != place.resolve():
                    _copy_comparison(self.folder, place)
                return replace(self, folder=place)
            a, b = (
                model
                if model.folder is not None
                else model.written_to(place / "evaluations" / side)
                for side, model in zip("ab", self.models, strict=True)
            )
            write_comparison_folder(place, self.record, a, b)
        return replace(self, models=(a, b), folder=place)

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame: a row for all questions, then one for each slice.

        Raises:
            MedtuneError: pandas is not installed.
        """
        return make_frame(
            {
                "dimension": dimension,
                "name": name,
                "n": found.accuracy_a.n,
                **proportion_cells("accuracy_a", found.accuracy_a),
                **proportion_cells("accuracy_b", found.accuracy_b),
                "only_a": found.only_a,
                "only_b": found.only_b,
                "difference": found.difference,
                "difference_low": found.difference_low,
                "difference_high": found.difference_high,
                "p_value": found.p_value,
                "p_holm": found.p_holm,
            }
            for dimension, name, found in self._lines()
        )

    def _lines(self) -> list[tuple[str, str, ComparisonRecord | PairedSlice]]:
        return [
            ("all", "all", self.record),
            *((found.dimension, found.name, found) for found in self.slices),
        ]

    def _repr_html_(self) -> str:
        """Show both accuracies and the verdict in a notebook."""
        record = self.record
        rows = [
            (name, format_percent(share.value), format_interval(share), share.n)
            for name, share in ((record.a, record.accuracy_a), (record.b, record.accuracy_b))
        ]
        title = f"{record.b} against {record.a} on {record.split}, method {record.method}"
        notes = (record.verdict, *record.notes)
        return render_result(title, ("model", "correct %", "95 %", "n"), rows, notes)


def _distinguish_harnesses(
    a: ComparedModel, b: ComparedModel
) -> tuple[ComparedModel, ComparedModel]:
    """Make equal labels of evaluations by different harnesses distinct."""
    records = (a.evaluation.record, b.evaluation.record)
    harnesses = [r.origin.harness if r.origin is not None else "medtune" for r in records]
    if records[0].label != records[1].label or harnesses[0] == harnesses[1]:
        return a, b
    first, second = (f"{r.label} ({name})" for r, name in zip(records, harnesses, strict=True))
    return a.with_label(first), b.with_label(second)


def write_comparison_folder(
    folder: Path, record: ComparisonRecord, a: ComparedModel, b: ComparedModel
) -> None:
    """Analyse both models of a comparison; write all its records and the page.

    Raises:
        PredictionsError: A calibration does not match.
        FolderError: The folder cannot be written.
    """
    slices = compare_slices(a.evaluation.predictions, b.evaluation.predictions)
    saved = SavedComparison(record, a.analyze(folder), b.analyze(folder), slices)
    _write_saved(folder, saved, (a.evaluation, b.evaluation))


def _write_saved(
    folder: Path, found: SavedComparison, evaluations: Sequence[Evaluation] | None
) -> None:
    """Write the records, and the page where the evaluations are known."""
    write_record(folder / COMPARISON_FILE, found.record)
    write_record(folder / SLICES_FILE, PairedSlices(slices=found.slices))
    write_record(folder / ANALYSIS_FILES[0], found.a)
    write_record(folder / ANALYSIS_FILES[1], found.b)
    if evaluations is not None:
        a, b = evaluations
        changed = find_changed_answers(a.predictions, b.predictions)
        write_comparison(folder / PAGE_FILE, found.record, found.a, found.b, found.slices, changed)


def _copy_comparison(source: Path, place: Path) -> None:
    """Write a saved comparison to another folder, with links that lead to its evaluations.

    Evaluations inside the source are copied; where one is gone, the page is copied as it is.

    Raises:
        FolderError: The folder cannot be written, or contains another evaluation.
    """
    found = find_comparison(source)
    assert found is not None, "it was loaded"
    analyses = (found.a, found.b)
    try:
        evaluations = [read_evaluation(source / analysis.folder) for analysis in analyses]
    except PredictionsError:
        _write_saved(place, found, None)
        if (source / PAGE_FILE).is_file():
            with translate_disk_errors(place):
                shutil.copyfile(source / PAGE_FILE, place / PAGE_FILE)
        return
    moved = []
    for analysis, evaluation in zip(analyses, evaluations, strict=True):
        old = (source / analysis.folder).resolve()
        new = old
        if old.is_relative_to(source.resolve()):
            new = (place / old.relative_to(source.resolve())).resolve()
            evaluation.save(new)
        link = os.path.relpath(new, place.resolve())
        moved.append(analysis.model_copy(update={"folder": link}))
    _write_saved(place, replace(found, a=moved[0], b=moved[1]), evaluations)


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
