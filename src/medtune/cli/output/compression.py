"""Print parity gates and benchmarks."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from medtune.cli.output.console import create_plain_table, format_percent_interval
from medtune.core.schemas.compression import BenchRecord, ParityRecord


def show_parity(console: Console, record: ParityRecord) -> None:
    """Print every candidate with the original, and budget violations last."""
    numbers = ("MB", "correct %", "points lost, at most", "same option %", "moved, nats", "q/s")
    table = create_plain_table(("model",), numbers)
    original = record.reference
    table.add_row(
        "original",
        _format_megabytes(record.reference_bytes),
        format_percent_interval(original.accuracy),
        "-",
        "-",
        "-",
        f"{original.questions_per_s:.1f}",
    )
    for row in record.rows:
        table.add_row(
            row.name,
            _format_megabytes(row.file_bytes),
            format_percent_interval(row.evaluation.accuracy),
            f"{max(0.0, -100 * row.comparison.difference_low):.1f}",
            f"{100 * row.agreement.value:.1f}",
            f"{row.mean_drift:.3f}",
            f"{row.evaluation.questions_per_s:.1f}",
        )
    console.print(table)
    console.print(f"{original.data.source} · {original.method}, n = {original.counts.n:,}")
    for row in record.rows:
        text = f"{row.name}: " + ("fit" if row.meets_budget else "unfit: " + "; ".join(row.broken))
        console.print(Text(text, style="green" if row.meets_budget else "red"))


def show_bench(console: Console, record: BenchRecord) -> None:
    """Print a benchmark of models."""
    numbers = ("q/s", "p50 ms", "p95 ms", "MB memory", "MB file", "correct %", "same %")
    table = create_plain_table(("", "model"), numbers)
    for row in record.rows:
        told = row.name.endswith(row.model.dtype)
        table.add_row(
            "*" if row.pareto else "",
            row.name if told else f"{row.name} ({row.model.dtype})",
            f"{row.questions_per_s:.1f}",
            f"{1000 * row.latency_p50_s:.0f}",
            f"{1000 * row.latency_p95_s:.0f}",
            _format_megabytes(row.peak_memory_bytes),
            _format_megabytes(row.file_bytes),
            format_percent_interval(row.accuracy),
            f"{100 * row.agreement.value:.1f}",
        )
    console.print(table)
    console.print(
        f"{record.data.source} · {record.method}, n = {record.data.n:,}; "
        "* not beaten in speed, memory and accuracy together"
    )


def _format_megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f}"
