"""One comparison, or one analysis, as a page that a reader understands in a minute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from medtune.analysis.paired_slices import Changed
from medtune.core.formatting import interval, percent
from medtune.core.predictions_io import ANALYSIS, PREDICTIONS, RECORD
from medtune.core.records import ComparisonRecord, EvaluationRecord
from medtune.core.run_folder import write_text
from medtune.core.schemas.analysis import AnalysisRecord, Dimension, PairedSlice, Slice
from medtune.reports.behaviour_figures import (
    reliability_figure,
    risk_figure,
    rotation_figure,
    shown_letters_figure,
)
from medtune.reports.comparison_figures import (
    COLOURS,
    ForestRow,
    baselines_figure,
    forest_figure,
)
from medtune.reports.data import Finding
from medtune.reports.figures import INK, letters_figure
from medtune.reports.templating import render

SHOWN_NOTES = 5
SHOWN_SLICES = 30
"""Subjects that are drawn; the tables have them all."""
TITLES: dict[Dimension, str] = {
    "subject": "Subject",
    "topic": "Topic",
    "negation": "Negation",
    "length": "Length of question and options",
    "letter": "Right letter",
    "options": "Number of options",
}


@dataclass(frozen=True, slots=True)
class AnalysedModel:
    """One analysed model, and where its records lie, relative to the page."""

    key: str
    label: str
    analysis: AnalysisRecord
    exam: EvaluationRecord
    """The analysed one, under the page's label."""
    record: str
    predictions: str
    findings: str

    @property
    def slices(self) -> list[tuple[Dimension, str, list[Slice]]]:
        """Its slices by dimension, with a title."""
        parts = groupby(self.analysis.slices, key=lambda s: s.dimension)
        return [(dimension, TITLES[dimension], list(some)) for dimension, some in parts]


@dataclass(frozen=True, slots=True)
class AnalysisFigures:
    """SVG texts; empty where there is nothing to draw."""

    baselines: str
    subjects: str
    subjects_left_out: int
    others: str
    """Paired differences by negation and letter."""
    reliability: str
    risk: str
    letters: str
    rotations: str
    shown_letters: str


def write_comparison(
    path: Path,
    record: ComparisonRecord,
    a: AnalysisRecord,
    b: AnalysisRecord,
    shifts: Sequence[PairedSlice],
    changed: Sequence[Changed],
) -> None:
    """Write the page of a comparison.

    `comparison.json`, `analysis-a.json` and `analysis-b.json` are linked to beside it; the
    analyses' folders where they are, relative ones as seen from the page.

    Args:
        path: Where to.
        record: The comparison.
        a: Of the reference.
        b: Of the candidate.
        shifts: Slice by slice.
        changed: Questions that only one of them has right.

    Raises:
        FolderError: The page cannot be written.
    """
    same = record.a == record.b
    models = [
        _shown(path, key, f"{label} ({key})" if same else label, found, f"analysis-{key}.json")
        for key, label, found in (("a", record.a, a), ("b", record.b, b))
    ]
    found = dict.fromkeys((*differing(record), *a.warnings, *b.warnings))
    # What stands right below the verdict is not said twice.
    notes = [note for note in found if note not in record.notes]
    page = render(
        "comparison.html",
        comparison=record,
        models=models,
        figures=_figures(models, shifts),
        notes=notes[:SHOWN_NOTES],
        more_notes=notes[SHOWN_NOTES:],
        shifts=[
            (dimension, TITLES[dimension], list(some))
            for dimension, some in groupby(shifts, key=lambda s: s.dimension)
        ],
        lost=[one for one in changed if one.kind == "lost"],
        gained=[one for one in changed if one.kind == "gained"],
    )
    write_text(path, page)


def write_analysis(path: Path, analysis: AnalysisRecord) -> None:
    """Write the page of one analysis; it belongs beside the evaluation's records.

    Raises:
        FolderError: The page cannot be written.
    """
    if not Path(analysis.folder).is_absolute():
        analysis = analysis.model_copy(update={"folder": "."})
    models = [_shown(path, "a", analysis.evaluation.label, analysis)]
    page = render(
        "analysis.html",
        models=models,
        standing=standing(analysis.evaluation),
        figures=_figures(models, ()),
        notes=analysis.warnings[:SHOWN_NOTES],
        more_notes=analysis.warnings[SHOWN_NOTES:],
    )
    write_text(path, page)


def differing(record: ComparisonRecord) -> list[str]:
    """Say in what two examinations differ beside the model, in a sentence or none."""
    if not record.differs:
        return []
    what = ", ".join(record.differs)
    return [
        f"The two were not examined alike: they differ in {what}. The difference between them is "
        "not of the models alone."
    ]


def standing(exam: EvaluationRecord) -> Finding:
    """Say in one sentence what an accuracy is worth beside what needs no knowledge."""
    value, majority = exam.accuracy, exam.majority.value
    best = max(exam.chance, majority)
    name = "chance" if exam.chance >= majority else f"always giving {exam.majority_letter}"
    kind, word = "none", "not shown to differ from"
    if value.low > best:
        kind, word = "", "above"
    elif value.high < best:
        kind, word = "worse", "below"
    return Finding(
        kind,
        f"{exam.label} has {percent(value.value)} % right (95 % interval {interval(value)}, "
        f"n = {value.n}): {word} {name} ({percent(best)} %).",
    )


def _shown(
    page: Path, key: str, label: str, analysis: AnalysisRecord, findings: str | None = None
) -> AnalysedModel:
    folder = Path(analysis.folder)
    if folder.is_absolute():
        folder = Path(os.path.relpath(folder, page.parent.absolute()))
    record, predictions, own = (
        quote((folder / name).as_posix()) for name in (RECORD, PREDICTIONS, ANALYSIS)
    )
    exam = analysis.evaluation.model_copy(update={"label": label})
    return AnalysedModel(key, label, analysis, exam, record, predictions, findings or own)


def _figures(models: Sequence[AnalysedModel], shifts: Sequence[PairedSlice]) -> AnalysisFigures:
    labels = [model.label for model in models]
    exams = [model.exam for model in models]
    subjects = _forest(models, shifts, ("subject",))
    others = _forest(models, shifts, ("negation", "letter")) if shifts else []
    calibrations = [m.analysis.calibration for m in models]
    curves = [m.analysis.selective.curve if m.analysis.selective else None for m in models]
    turned = [m.analysis.flips for m in models]
    return AnalysisFigures(
        baselines=baselines_figure(exams),
        subjects=forest_figure(subjects[:SHOWN_SLICES], labels) if subjects else "",
        subjects_left_out=max(0, len(subjects) - SHOWN_SLICES),
        others=forest_figure(others, labels) if others else "",
        reliability=reliability_figure(calibrations, labels) if any(calibrations) else "",
        risk=risk_figure(curves, labels) if any(curves) else "",
        letters=letters_figure(exams, [INK, *COLOURS[-len(models) :]]),
        rotations=rotation_figure(turned, labels) if any(turned) else "",
        shown_letters=shown_letters_figure(turned, labels) if any(turned) else "",
    )


def _forest(
    models: Sequence[AnalysedModel], shifts: Sequence[PairedSlice], dimensions: Sequence[Dimension]
) -> list[ForestRow]:
    """Line up what is to be drawn, the largest subjects first."""
    if shifts:
        rows = [
            ForestRow(_row_name(s), (s.accuracy_a, s.accuracy_b), s)
            for s in shifts
            if s.dimension in dimensions
        ]
    else:
        rows = [
            ForestRow(_row_name(s), (s.accuracy,))
            for s in models[0].analysis.slices
            if s.dimension in dimensions
        ]
    if "subject" in dimensions:
        rows.sort(key=lambda row: -row.accuracies[0].n)
    return rows


def _row_name(part: Slice | PairedSlice) -> str:
    return f"right letter {part.name}" if part.dimension == "letter" else part.name
