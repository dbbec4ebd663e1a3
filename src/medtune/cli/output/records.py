"""Print records in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import PRINTERS, create_plain_table, lay_out, prints
from medtune.cli.output.table import PlainTable
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    ModelInfo,
    ModelList,
    Proportion,
    Record,
    RunRecord,
)
from medtune.core.warnings import accuracy_caveats
from medtune.foreign_logs.schema import ImportRecord
from medtune.reports.accuracy_table import accuracy_table
from medtune.reports.result_table import format_percent_interval

GIB = 1 << 30
LEFT_OUT = ("kind", "inputs", "provenance", "audit", "losses")
"""Fields that a terminal does not show."""


def print_on_console(console: Console, record: Record) -> None:
    """Print a record as a table."""
    # These register what they print; `--help` does not need their schemas.
    from medtune.cli.output import (  # noqa: F401
        analysis,
        batch_audit,
        compression,
        data,
        plan,
        publishing,
        release,
        release_export,
        retrieval,
        review,
        serving,
        study,
    )

    PRINTERS.get(type(record), _show_fields)(console, record)


@prints(RunRecord)
def _show_run(console: Console, record: RunRecord) -> None:
    # These import SciPy, which other commands do not need.
    from medtune.analysis.forgetting import describe_forgetting

    shown = [e for group in record.evaluations_by_exam() for e in group]
    console.print(lay_out(accuracy_table([shown])))
    for evaluation in shown:
        _print_caveats(console, evaluation)
    primary = record.evaluations[0].method
    for spread in record.spreads:
        if spread.method == primary:
            console.print(f"{spread.split} · {spread.method}: {spread.verdict}")
    for comparison in record.comparisons:
        if comparison.method == primary:
            if record.spreads:
                _print_notes(console, comparison)
            else:
                _print_verdict(console, comparison)
    if record.multiplicity_note:
        console.print(f"! {record.multiplicity_note}")
    for forgotten in record.forgotten or ():
        console.print(Text(describe_forgetting(forgotten)))
    console.print(
        f"{record.name}: {record.duration_s:.0f} s, "
        f"peak memory {record.peak_memory_bytes / GIB:.2f} GiB"
    )


@prints(EvaluationRecord)
def _show_evaluation(console: Console, record: EvaluationRecord) -> None:
    # These import SciPy, which other commands do not need.
    from medtune.analysis.open_book import open_book_note, search_note
    from medtune.analysis.options_only import stem_note

    console.print(lay_out(accuracy_table([[record]])))
    if record.data.excluded:
        reasons = ", ".join(f"{n:,} × {why}" for why, n in record.data.excluded.items())
        console.print(f"left out of {record.data.source}: {reasons}")
    _print_caveats(console, record)
    if note := stem_note(record):
        console.print(Text(f"! {note}"))
    if record.search is not None:
        mark = "" if record.search.beaten else "! "
        console.print(Text(f"{mark}{search_note(record)}"))
    if note := open_book_note(record):
        console.print(Text(note))
    if record.trained_on is None and record.model.adapter is not None:
        console.print("Whether the adapter was trained on these questions is unknown.")


@prints(ImportRecord)
def _show_import(console: Console, record: ImportRecord) -> None:
    console.print(lay_out(accuracy_table([record.evaluations])))
    for evaluation, folder in zip(record.evaluations, record.folders, strict=True):
        _print_caveats(console, evaluation)
        console.print(f"{evaluation.data.source}: {folder}")


@prints(ComparisonRecord)
def _show_comparison(console: Console, record: ComparisonRecord) -> None:
    console.print(
        f"{record.split} · {record.method}: {record.a} "
        f"{format_percent_interval(record.accuracy_a)}, "
        f"{record.b} {format_percent_interval(record.accuracy_b)}, n = {record.n}"
    )
    console.print(
        f"both right {record.both}, only {record.a} {record.only_a}, "
        f"only {record.b} {record.only_b}, neither {record.neither}"
    )
    for label, search in ((record.a, record.search_a), (record.b, record.search_b)):
        if search is not None:
            console.print(
                Text(
                    f"text search beside {label}: {format_percent_interval(search.accuracy)} in "
                    f"{search.passages:,} passages"
                )
            )
    if record.differs:
        console.print(f"! the evaluations differ in: {', '.join(record.differs)}")
    _print_verdict(console, record)


@prints(ModelList)
def _show_models(console: Console, record: ModelList) -> None:
    console.print(_model_table(record.models))


def _show_fields(console: Console, record: Record) -> None:
    console.print(field_table(record))


def _print_caveats(console: Console, record: EvaluationRecord) -> None:
    for remark in accuracy_caveats(record):
        console.print(Text(f"! {remark}"))


def _print_verdict(console: Console, record: ComparisonRecord) -> None:
    worse = record.p_value < 0.05 and record.difference < 0
    style = "green" if record.is_success else "red" if worse else ""
    console.print(Text(f"{record.split} · {record.method}: {record.verdict}", style=style))
    _print_notes(console, record)


def _print_notes(console: Console, record: ComparisonRecord) -> None:
    if record.search_verdict is not None and record.search_verdict not in record.notes:
        console.print(Text(record.search_verdict))
    for note in record.notes:
        console.print(f"! {note}")


def _model_table(models: tuple[ModelInfo, ...]) -> PlainTable:
    table = create_plain_table(("model", "state", "size"), texts=("where",))
    for model in models:
        size = f"{model.size_bytes / 1e6:,.0f} MB" if model.size_bytes is not None else "-"
        table.add_row(model.name, model.state, size, model.folder or model.note)
    return table


def field_table(record: Record, left_out: Sequence[str] = LEFT_OUT) -> PlainTable:
    """Build a table of a record's fields, nested records in one line."""
    table = create_plain_table(("",), texts=("",))
    for name, value in record:
        if name in left_out:
            continue
        for label, text in _field_rows(name, value):
            said = label.removeprefix("provenance.").replace("_", " ")
            table.add_row(Text(said, style="bold"), Text(text))
    return table


def _field_rows(name: str, value: object) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Proportion):
        yield name, f"{format_percent_interval(value)}, n = {value.n}"
    elif isinstance(value, Record):
        for inner, part in value:
            yield from _field_rows(f"{name}.{inner}", part)
    elif isinstance(value, tuple):
        for item in value:
            text = (
                f"{item.name}: {item.state} {item.note}"
                if isinstance(item, ModelInfo)
                else str(item)
            )
            yield name, text.strip()
    elif name.endswith("_bytes") and isinstance(value, int):
        yield name.removesuffix("_bytes"), f"{value / GIB:.2f} GiB"
    elif isinstance(value, dict):
        yield name, ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    else:
        yield name, f"{value:.4g}" if isinstance(value, float) else str(value)
