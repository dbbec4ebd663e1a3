"""Write the table of a comparison for a paper (LaTeX) and for other programs (CSV)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from medtune.core.formatting import format_p_value, format_percent, format_signed_points
from medtune.core.records import ComparisonRecord, EvaluationRecord, Proportion
from medtune.core.schemas.analysis import PairedSlice
from medtune.core.schemas.dataset import short_source_name

CSV_COLUMNS = (
    "dimension",
    "name",
    "quantity",
    "model",
    "n",
    "value",
    "low",
    "high",
    "only_a",
    "only_b",
    "p_value",
    "p_holm",
)
"""Columns of the CSV file, named as in the records: a is the reference, b the candidate. A quantity
is `accuracy`, `baseline` or `difference`; proportions are between 0 and 1, with 95 % intervals; an
empty cell is not measured."""
WHOLE = "all"
"""Dimension and name of the whole split."""
_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # As a character of the font: \textquotedbl is unknown to LaTeX's usual encoding.
    '"': r'\string"',
    "|": r"\textbar{}",
}
_SPECIAL = re.compile("|".join(map(re.escape, _LATEX_SPECIAL)))

Baseline = tuple[str, Proportion | float]


def escape_latex(text: str) -> str:
    """Escape a text for LaTeX, on one line."""
    return _SPECIAL.sub(lambda found: _LATEX_SPECIAL[found[0]], " ".join(text.split()))


def render_latex_table(record: ComparisonRecord, a: EvaluationRecord, b: EvaluationRecord) -> str:
    """Render the comparison as a LaTeX table; it needs the package booktabs.

    The table has n, both accuracies, the baselines, the paired difference, the discordant questions
    and the exact McNemar test; intervals are 95 %.
    """
    name_a, name_b = (escape_latex(label) for label in (record.a, record.b))
    difference, *ends = (
        _sign(value) for value in (record.difference, record.difference_low, record.difference_high)
    )
    holm = (
        ""
        if record.p_holm is None
        else f"; after Holm's correction $p {format_p_value(record.p_holm)}$"
    )
    rows = [
        _accuracy_row(name_a, record.accuracy_a),
        _accuracy_row(name_b, record.accuracy_b),
        r"\midrule",
        *(_baseline_row(escape_latex(name), value) for name, value in list_baselines(a, b)),
        r"\midrule",
        f"Difference, points & & {difference} & {ends[0]} to {ends[1]} \\\\",
    ]
    caption = (
        f"Accuracy of {name_b} and {name_a} on the same {record.n:,} multiple-choice questions of "
        f"{escape_latex(short_source_name(record.split))} (method {record.method}). Accuracies "
        r"with Wilson's and the paired difference with Tango's 95\,\% score interval. Only "
        f"{name_a} is correct on {record.only_a:,} questions, only {name_b} on {record.only_b:,}; "
        f"exact McNemar test, two-sided: $p {format_p_value(record.p_value)}${holm}. A true "
        f"difference of {format_percent(record.minimum_detectable)} points is found with "
        r"80\,\% power."
    )
    return "\n".join(
        [
            r"% Written by medtune compare; needs \usepackage{booktabs}.",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\begin{tabular}{lrrr}",
            r"\toprule",
            r" & Correct / $n$ & Accuracy, \% & 95\,\% CI \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def render_csv_table(
    record: ComparisonRecord,
    a: EvaluationRecord,
    b: EvaluationRecord,
    slices: Sequence[PairedSlice],
) -> str:
    """Render the comparison as CSV: one row per accuracy, baseline and difference.

    Rows of the whole split are first, then those of every slice.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    pair = f"{record.b} minus {record.a}"
    for label, accuracy in ((record.a, record.accuracy_a), (record.b, record.accuracy_b)):
        writer.writerow([WHOLE, WHOLE, "accuracy", label, *_cells(accuracy), "", "", "", ""])
    for name, value in list_baselines(a, b):
        writer.writerow([WHOLE, WHOLE, "baseline", name, *_cells(value), "", "", "", ""])
    writer.writerow(
        [WHOLE, WHOLE, "difference", pair, record.n, *_paired_cells(record)],
    )
    for part in slices:
        where = [part.dimension, part.name]
        writer.writerow([*where, "accuracy", record.a, *_cells(part.accuracy_a), *[""] * 4])
        writer.writerow([*where, "accuracy", record.b, *_cells(part.accuracy_b), *[""] * 4])
        n = part.accuracy_a.n
        writer.writerow([*where, "difference", pair, n, *_paired_cells(part)])
    return out.getvalue()


def list_baselines(a: EvaluationRecord, b: EvaluationRecord) -> list[Baseline]:
    """List the measured baselines of a comparison: name, and accuracy with interval if there is."""
    return [*_iter_baselines(a, b)]


def _iter_baselines(a: EvaluationRecord, b: EvaluationRecord) -> Iterator[Baseline]:
    yield "chance", a.chance
    yield f"always {a.majority_letter}", a.majority
    for exam in (a, b):
        if exam.options_only is not None:
            yield f"{exam.label}, without the stem", exam.options_only
    searches = {e.search.fingerprint or e.search.index: e.search for e in (a, b) if e.search}
    for search in searches.values():
        yield f"text search ({search.passages:,} passages)", search.accuracy


def _accuracy_row(name: str, value: Proportion) -> str:
    correct = round(value.value * value.n)
    return (
        f"{name} & {correct:,} / {value.n:,} & {format_percent(value.value)} & "
        f"{format_percent(value.low)}--{format_percent(value.high)} \\\\"
    )


def _baseline_row(name: str, value: Proportion | float) -> str:
    if isinstance(value, Proportion):
        return _accuracy_row(name, value)
    return f"{name} & & {format_percent(value)} & \\\\"


def _sign(value: float) -> str:
    return f"${format_signed_points(value)}$"


def _cells(value: Proportion | float) -> list[object]:
    """Return n, value, low and high of a proportion."""
    if isinstance(value, Proportion):
        return [value.n, value.value, value.low, value.high]
    return ["", value, "", ""]


def _paired_cells(found: ComparisonRecord | PairedSlice) -> list[object]:
    """Return the cells of a paired difference, from its value on."""
    return [
        found.difference,
        found.difference_low,
        found.difference_high,
        found.only_a,
        found.only_b,
        "" if found.p_value is None else found.p_value,
        "" if found.p_holm is None else found.p_holm,
    ]
