"""Write the page of a comparison or of an analysis."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from medtune.analysis.analyze import majority_note
from medtune.analysis.open_book import open_book_note, search_note
from medtune.analysis.paired_slices import DiscordantQuestion
from medtune.core.formatting import format_interval, format_percent, format_share
from medtune.core.predictions_io import ANALYSIS_FILE, PREDICTIONS_FILE, RECORD_FILE
from medtune.core.records import ComparisonRecord, EvaluationRecord
from medtune.core.run_folder import write_text
from medtune.core.schemas.analysis import AnalysisRecord, Dimension, PairedSlice, Slice
from medtune.reports.accuracy_table import accuracy_table
from medtune.reports.behaviour_figures import (
    plot_letters_over_orders,
    plot_reliability,
    plot_risk_coverage,
    plot_rotations,
    plot_similarity,
)
from medtune.reports.comparison_figures import (
    MODEL_COLOURS,
    ForestRow,
    plot_baselines,
    plot_forest,
)
from medtune.reports.data import Headline
from medtune.reports.figures import TEXT_COLOUR, Drawing, plot_letters
from medtune.reports.methods_paragraph import (
    describe_comparison_methods,
    describe_evaluation_methods,
)
from medtune.reports.templating import render_page

SHOWN_NOTES = 5
SHOWN_SLICES = 30
"""Most subjects in a figure; the tables list all."""
FIGURE_FILES = {
    "baselines": "accuracy",
    "others": "negation-and-letter",
    "risk": "risk-coverage",
    "shown_letters": "letters-in-all-orders",
}
"""Names of saved figures, where they differ from the names of the fields."""
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
    """One analysed model, with the paths of its records relative to the page."""

    key: str
    label: str
    analysis: AnalysisRecord
    exam: EvaluationRecord
    """Its evaluation, with the label of the page."""
    record: str
    predictions: str
    findings: str

    @property
    def has_index(self) -> bool:
        """Whether an index of passages was searched for its questions."""
        return self.analysis.similarity is not None or bool(self.look_up)

    @property
    def look_up(self) -> list[str]:
        """Sentences on the open book and on the search baseline."""
        return [note for note in (open_book_note(self.exam), search_note(self.exam)) if note]

    @property
    def slices(self) -> list[tuple[Dimension, str, list[Slice]]]:
        """Slices by dimension, with titles."""
        parts = groupby(self.analysis.slices, key=lambda s: s.dimension)
        return [(dimension, TITLES[dimension], list(some)) for dimension, some in parts]


@dataclass(frozen=True, slots=True)
class AnalysisFigures:
    """Figures as SVG text; empty if there is nothing to draw."""

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
    similarity: str

    def save(self, folder: Path) -> list[Path]:
        """Save every figure that has data, as SVG, PDF and PNG; return the files.

        Raises:
            FolderError: The folder cannot be written.
        """
        drawn = ((FIGURE_FILES.get(f.name, f.name), getattr(self, f.name)) for f in fields(self))
        return [
            path
            for name, drawing in drawn
            if isinstance(drawing, Drawing)
            for path in drawing.save(folder / name)
        ]


def draw_comparison(
    record: ComparisonRecord, a: AnalysisRecord, b: AnalysisRecord, shifts: Sequence[PairedSlice]
) -> AnalysisFigures:
    """Draw the figures of a comparison, as on its page."""
    return _draw_figures(_build_models(Path(), record, a, b), shifts)


def write_comparison(
    path: Path,
    record: ComparisonRecord,
    a: AnalysisRecord,
    b: AnalysisRecord,
    shifts: Sequence[PairedSlice],
    changed: Sequence[DiscordantQuestion],
) -> None:
    """Write the page of a comparison.

    The page links to `comparison.json`, `analysis-a.json` and `analysis-b.json` beside it, and to
    the evaluation folders by relative paths.

    Args:
        path: File to write.
        record: The comparison.
        a: Analysis of the reference.
        b: Analysis of the candidate.
        shifts: Paired differences by slice.
        changed: Questions that only one of them answered correctly.

    Raises:
        FolderError: The page cannot be written.
    """
    models = _build_models(path, record, a, b)
    found = dict.fromkeys((*describe_differences(record), *a.warnings, *b.warnings))
    # Statements right below the verdict are not repeated in the notes.
    notes = [note for note in found if note not in record.notes]
    page = render_page(
        "comparison.html",
        accuracies=accuracy_table([[model.exam for model in models]]),
        comparison=record,
        methods=describe_comparison_methods(record, a, b, shifts),
        models=models,
        figures=_draw_figures(models, shifts),
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
    """Write the page of one analysis beside the evaluation's records.

    Raises:
        FolderError: The page cannot be written.
    """
    if not Path(analysis.folder).is_absolute():
        analysis = analysis.model_copy(update={"folder": "."})
    models = [_build_model(path, "a", analysis.evaluation.label, analysis)]
    # The first sentence compares the accuracy with the baselines already.
    notes = [note for note in analysis.warnings if note != majority_note(analysis.evaluation)]
    page = render_page(
        "analysis.html",
        accuracies=accuracy_table([[model.exam for model in models]]),
        models=models,
        standing=compare_with_baselines(analysis.evaluation),
        methods=describe_evaluation_methods(analysis.evaluation, analysis),
        figures=_draw_figures(models, ()),
        notes=notes[:SHOWN_NOTES],
        more_notes=notes[SHOWN_NOTES:],
    )
    write_text(path, page)


def describe_differences(record: ComparisonRecord) -> list[str]:
    """Return a sentence on the settings in which two evaluations differ, or none."""
    if not record.differs:
        return []
    what = ", ".join(record.differs)
    return [
        f"The evaluations differ in {what}, so their difference is not due to the models alone."
    ]


def compare_with_baselines(exam: EvaluationRecord) -> Headline:
    """Compare an accuracy with chance and majority letter, in one sentence."""
    value, majority = exam.accuracy, exam.majority.value
    best = max(exam.chance, majority)
    name = "chance" if exam.chance >= majority else f"always giving {exam.majority_letter}"
    kind, word = "none", "not shown to differ from"
    if value.low > best:
        kind, word = "", "above"
    elif value.high < best:
        kind, word = "worse", "below"
    rest = exam.open_book.less_similar if exam.open_book is not None else None
    without = (
        f" Without the most similar tenth of the questions: {format_share(rest)}." if rest else ""
    )
    return Headline(
        kind,
        f"{exam.label} has {format_percent(value.value)} % right (95 % interval "
        f"{format_interval(value)}, n = {value.n}): {word} {name} ({format_percent(best)} %)."
        f"{without}",
    )


def _build_models(
    page: Path, record: ComparisonRecord, a: AnalysisRecord, b: AnalysisRecord
) -> list[AnalysedModel]:
    """Build both models of a comparison; equal labels are told apart."""
    same = record.a == record.b
    return [
        _build_model(
            page, key, f"{label} ({key})" if same else label, found, f"analysis-{key}.json"
        )
        for key, label, found in (("a", record.a, a), ("b", record.b, b))
    ]


def _build_model(
    page: Path, key: str, label: str, analysis: AnalysisRecord, findings: str | None = None
) -> AnalysedModel:
    folder = Path(analysis.folder)
    if folder.is_absolute():
        folder = Path(os.path.relpath(folder, page.parent.absolute()))
    record, predictions, own = (
        quote((folder / name).as_posix()) for name in (RECORD_FILE, PREDICTIONS_FILE, ANALYSIS_FILE)
    )
    exam = analysis.evaluation.model_copy(update={"label": label})
    return AnalysedModel(key, label, analysis, exam, record, predictions, findings or own)


def _draw_figures(
    models: Sequence[AnalysedModel], shifts: Sequence[PairedSlice]
) -> AnalysisFigures:
    labels = [model.label for model in models]
    exams = [model.exam for model in models]
    subjects = _forest_rows(models, shifts, ("subject",))
    others = _forest_rows(models, shifts, ("negation", "letter")) if shifts else []
    calibrations = [m.analysis.calibration for m in models]
    curves = [m.analysis.selective.curve if m.analysis.selective else None for m in models]
    turned = [m.analysis.flips for m in models]
    similar = [m.analysis.similarity for m in models]
    return AnalysisFigures(
        baselines=plot_baselines(exams),
        subjects=plot_forest(subjects[:SHOWN_SLICES], labels) if subjects else "",
        subjects_left_out=max(0, len(subjects) - SHOWN_SLICES),
        others=plot_forest(others, labels) if others else "",
        reliability=plot_reliability(calibrations, labels) if any(calibrations) else "",
        risk=plot_risk_coverage(curves, labels) if any(curves) else "",
        letters=plot_letters(exams, [TEXT_COLOUR, *MODEL_COLOURS[-len(models) :]]),
        rotations=plot_rotations(turned, labels) if any(turned) else "",
        shown_letters=plot_letters_over_orders(turned, labels) if any(turned) else "",
        similarity=plot_similarity(similar, labels) if any(similar) else "",
    )


def _forest_rows(
    models: Sequence[AnalysedModel], shifts: Sequence[PairedSlice], dimensions: Sequence[Dimension]
) -> list[ForestRow]:
    """Build the rows of a forest plot, the largest subjects first."""
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
