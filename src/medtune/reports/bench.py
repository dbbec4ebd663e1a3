"""Write the benchmark page: figure and table."""

from __future__ import annotations

from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.core.schemas.compression import BenchRecord, BenchRow
from medtune.reports import result_table as table
from medtune.reports.figures import MUTED_COLOUR, TEXT_COLOUR, TUNED_COLOUR, create_axes, render_svg
from medtune.reports.templating import render_page

ROWS: list[table.Column[BenchRow]] = [
    table.label("", lambda r: "*" if r.pareto else "", table.TERMINAL),
    table.label("model", lambda r: _with_dtype(r)),
    table.label("device", lambda r: r.model.device, table.PAGE),
    table.number("questions/s", lambda r: r.questions_per_s, ".1f"),
    table.number("p50 ms", lambda r: r.latency_p50_s, ".0f", scale=1000),
    table.number("p95 ms", lambda r: r.latency_p95_s, ".0f", scale=1000),
    table.number("up to", lambda r: r.latency_p95_high_s, ".0f", table.PAGE, 1000),
    table.number("threads", lambda r: r.threads, media=table.PAGE),
    table.number("load time, s", lambda r: r.load_s, ".1f", table.PAGE),
    table.number("MB memory", lambda r: r.peak_memory_bytes, ",.0f", scale=1e-6),
    table.number("MB file", lambda r: r.file_bytes, ",.0f", scale=1e-6),
    table.estimate("correct %", lambda r: r.accuracy),
    table.percent("same option %", lambda r: r.agreement),
    table.label("", lambda r: "Pareto-optimal" if r.pareto else "", table.PAGE),
]


def bench_table(record: BenchRecord) -> table.ResultTable[BenchRow]:
    """Return the table of the models."""
    return table.ResultTable(ROWS, record.rows)


def _with_dtype(row: BenchRow) -> str:
    dtype = row.model.dtype
    return row.name if dtype is None or row.name.endswith(dtype) else f"{row.name} ({dtype})"


def write_bench(path: Path, record: BenchRecord) -> None:
    """Write the benchmark page.

    Raises:
        FolderError: The page cannot be written.
    """
    write_text(
        path,
        render_page(
            "bench.html", bench=record, rows=bench_table(record), figure=plot_speed_memory(record)
        ),
    )


def plot_speed_memory(record: BenchRecord) -> str:
    """Draw speed over memory, with Pareto-optimal models in colour."""
    figure, axes = create_axes(8.6, 4.2)
    for row in record.rows:
        place = row.peak_memory_bytes / 1e6, row.questions_per_s
        axes.plot(*place, "o", color=TUNED_COLOUR if row.pareto else MUTED_COLOUR, ms=8)
        text = f"{row.name.rpartition('/')[2]}, {100 * row.accuracy.value:.1f} %"
        axes.annotate(
            text, place, xytext=(7, 5), textcoords="offset points", color=TEXT_COLOUR, fontsize=8.5
        )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("peak memory of the process, MB")
    axes.set_ylabel("questions/s")
    axes.grid(color=TEXT_COLOUR, alpha=0.2)
    return render_svg(
        figure,
        "Speed over memory. "
        + "; ".join(
            f"{row.name}: {row.questions_per_s:.1f} questions/s in "
            f"{row.peak_memory_bytes / 1e6:.0f} MB, {100 * row.accuracy.value:.1f} % right"
            for row in record.rows
        ),
    )
