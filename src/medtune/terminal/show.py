"""How records look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medtune.core.manifest import MappingProposal, SnapshotManifest, VerificationRecord
from medtune.core.records import (
    ComparisonRecord,
    DoctorRecord,
    EvaluationRecord,
    ModelInfo,
    ModelList,
    Proportion,
    Record,
    RunRecord,
)
from medtune.terminal.console import open_console, plain_table
from medtune.terminal.data import show_manifest, show_proposal, show_verification

GIB = 1 << 30


def show(record: Record) -> None:
    """Print a record as a table on stdout."""
    console = open_console(stderr=False)
    if isinstance(record, RunRecord):
        console.print(_evaluations(record.evaluations))
        primary = record.evaluations[0].method
        for comparison in record.comparisons:
            if comparison.method == primary:
                _verdict(console, comparison)
        console.print(
            f"{record.name}: {record.duration_s:.0f} s, "
            f"peak memory {record.peak_memory_bytes / GIB:.2f} GiB"
        )
    elif isinstance(record, EvaluationRecord):
        console.print(_evaluations([record]))
    elif isinstance(record, ComparisonRecord):
        console.print(
            f"{record.split} · {record.method}: {record.a} {_percent(record.accuracy_a)}, "
            f"{record.b} {_percent(record.accuracy_b)}, n = {record.n}"
        )
        console.print(
            f"both right {record.both}, only {record.a} {record.only_a}, "
            f"only {record.b} {record.only_b}, neither {record.neither}"
        )
        _verdict(console, record)
    elif isinstance(record, ModelList):
        console.print(_models(record.models))
    elif isinstance(record, SnapshotManifest):
        show_manifest(console, record)
    elif isinstance(record, MappingProposal):
        show_proposal(console, record)
    elif isinstance(record, VerificationRecord):
        show_verification(console, record)
    else:
        console.print(_fields(record))


def _evaluations(records: tuple[EvaluationRecord, ...] | list[EvaluationRecord]) -> Table:
    table = plain_table(
        ("questions", "method", "model"),
        ("correct %", "95 %", "n", "unparsed", "chance", "majority"),
    )
    ordered = sorted(range(len(records)), key=lambda i: (i % max(1, len(records) // 2), i))
    for index in ordered if len(records) > 1 else [0]:
        r = records[index]
        table.add_row(
            r.data.source,
            r.method,
            r.label,
            f"{100 * r.accuracy.value:.1f}",
            f"{100 * r.accuracy.low:.1f}-{100 * r.accuracy.high:.1f}",
            str(r.counts.n),
            str(r.counts.unparsed),
            f"{100 * r.chance:.1f}",
            f"{100 * r.majority.value:.1f} ({r.majority_letter})",
        )
    return table


def _verdict(console: Console, record: ComparisonRecord) -> None:
    style = "" if record.p_value >= 0.05 else ("green" if record.difference > 0 else "red")
    console.print(Text(f"{record.split} · {record.method}: {record.verdict}", style=style))


def _models(models: tuple[ModelInfo, ...]) -> Table:
    table = plain_table(("model", "state", "size", "where"))
    for model in models:
        size = f"{model.size_bytes / 1e6:,.0f} MB" if model.size_bytes is not None else "-"
        table.add_row(model.name, model.state, size, model.folder or model.note)
    return table


def _fields(record: Record) -> Table:
    """Lay out a record field by field, nested records in one line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in record:
        if name in ("kind", "inputs", "provenance", "audit", "losses") and not isinstance(
            record, DoctorRecord
        ):
            continue
        for label, text in _rows(name, value):
            table.add_row(label, text)
    return table


def _rows(name: str, value: object) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Proportion):
        yield name, f"{_percent(value)}, n = {value.n}"
    elif isinstance(value, Record):
        for inner, part in value:
            yield from _rows(f"{name}.{inner}", part)
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
    else:
        yield name, f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(value: Proportion) -> str:
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f}-{100 * value.high:.1f})"
