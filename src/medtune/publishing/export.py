"""Export an evaluation (`medtune export`), and describe methods (`medtune methods`).

The table, figures and paragraph of a comparison are options of `medtune compare`.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.predictions_io import ANALYSIS_FILE, RECORD_FILE, read_evaluation
from medtune.core.records import EvaluationRecord, RunRecord
from medtune.core.run_folder import read_record, translate_disk_errors, write_text
from medtune.core.schemas.analysis import AnalysisRecord
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.data.load import MANIFEST_FILE
from medtune.publishing.every_eval_ever import Attribution, build_every_eval_ever
from medtune.publishing.schema import EvaluationExport, ExportFormat
from medtune.reports.comparison import draw_comparison
from medtune.reports.comparison_folder import SavedComparison, find_comparison
from medtune.reports.comparison_table import render_csv_table, render_latex_table
from medtune.reports.hub_results import (
    RESULTS_FOLDER,
    build_hub_result,
    missing_entry_reason,
    render_hub_results,
    results_file_name,
)
from medtune.reports.methods_paragraph import (
    MethodsParagraph,
    describe_comparison_methods,
    describe_evaluation_methods,
    describe_run_methods,
)

OWN_MARKDOWN = "<!-- Written by medtune compare. -->\n"
"""First line by which a written paragraph is told from the Methods of somebody else."""


def export_evaluation(
    folder: Path, to: ExportFormat, out: Path, attribution: Attribution, texts: bool
) -> EvaluationExport:
    """Export a saved evaluation to files below `out`; files of the same names are replaced.

    Raises:
        PredictionsError: The folder holds no evaluation.
        InputError: The format cannot express it.
        FolderError: The files cannot be written.
    """
    record, predictions = read_evaluation(folder)
    if to == "every-eval-ever":
        made = build_every_eval_ever(record, predictions, attribution, texts)
        # The samples first: an aggregate never names a file that is not there.
        files = {made.samples_path: made.samples, made.aggregate_path: made.aggregate}
    else:
        files = {_hub_result_path(record): render_hub_results([build_hub_result(record)])}
        texts = False
    # The name of an Every Eval Ever file is its evaluation's own; a dataset's is not.
    write = write_text if to == "every-eval-ever" else write_own_file
    for path, text in files.items():
        write(out / path, text)
    written = tuple(str(out / path) for path in files)
    return EvaluationExport(
        format=to, folder=str(folder), files=written, n=record.counts.n, texts=texts
    )


def describe_methods(folder: Path) -> MethodsParagraph:
    """Describe the methods of a run, a comparison or an evaluation from its folder.

    Raises:
        InputError: The folder holds none of them.
    """
    run = read_record(folder / RECORD_FILE, RunRecord)
    if run is not None:
        manifest = read_record(folder / "data" / MANIFEST_FILE, SnapshotManifest)
        return describe_run_methods(run, manifest)
    if (comparison := find_comparison(folder)) is not None:
        return _comparison_methods(comparison)
    if (record := read_record(folder / RECORD_FILE, EvaluationRecord)) is not None:
        analysis = read_record(folder / ANALYSIS_FILE, AnalysisRecord)
        return describe_evaluation_methods(record, analysis)
    raise InputError(
        f"{folder} holds no run, comparison or evaluation",
        expected="a folder that `medtune run`, `compare` or `evaluate` has written",
        fix="name such a folder: ls runs",
    )


def export_comparison(
    folder: Path,
    latex: Path | None = None,
    csv: Path | None = None,
    figures: Path | None = None,
    methods: Path | None = None,
) -> dict[str, Path]:
    """Write the table, the figures and the Methods paragraph of a saved comparison.

    Returns:
        The written files by name, and the folder of the figures.

    Raises:
        InputError: The folder holds no comparison.
        FolderError: A file cannot be written.
    """
    found = find_comparison(folder)
    if found is None:
        raise InputError(f"{folder} holds no comparison", fix="make one with `medtune compare`")
    exams = found.a.evaluation, found.b.evaluation
    written: dict[str, Path] = {}
    if latex is not None:
        write_own_file(latex, render_latex_table(found.record, *exams))
        written["latex"] = latex
    if csv is not None:
        write_own_file(csv, render_csv_table(found.record, *exams, found.slices))
        written["csv"] = csv
    if methods is not None:
        write_own_file(methods, OWN_MARKDOWN + _comparison_methods(found).to_markdown())
        written["methods"] = methods
    if figures is not None:
        draw_comparison(found.record, found.a, found.b, found.slices).save(figures)
        written["figures"] = figures
    return written


def write_own_file(path: Path, text: str) -> None:
    """Write a text file; an existing file is replaced only if its first line is the same.

    Raises:
        InputError: It is a folder, or was not written by the same command.
        FolderError: It cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder", expected="the name of a file")
    first = text.partition("\n")[0]
    try:
        with translate_disk_errors(path):
            older = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        older = ""
    if older and older.partition("\n")[0] != first:
        raise InputError(
            f"{path} exists, and medtune did not write it",
            expected="a new file, or an earlier one of the same kind to replace",
            fix="choose another name",
        )
    write_text(path, text)


def _comparison_methods(found: SavedComparison) -> MethodsParagraph:
    return describe_comparison_methods(found.record, found.a, found.b, found.slices)


def _hub_result_path(record: EvaluationRecord) -> str:
    """Return the path of an evaluation's entry in a model's repository.

    Raises:
        InputError: The Hub has no place for it.
    """
    if reason := missing_entry_reason(record):
        raise InputError(
            f"the Hub has no place for this result: {reason}",
            expected="an evaluation of a dataset of the Hub, hub:ORG/NAME",
            fix="use --to every-eval-ever, which takes any data",
        )
    return f"{RESULTS_FOLDER}/{results_file_name(record)}"
