"""Models side by side as a page: figure and table."""

from __future__ import annotations

from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.core.schemas.compression import BenchRecord
from medtune.reports.figures import INK, MUTED, TUNED, canvas, svg
from medtune.reports.templating import render


def write_bench(path: Path, record: BenchRecord) -> None:
    """Write the page.

    Raises:
        FolderError: The page cannot be written.
    """
    write_text(path, render("bench.html", bench=record, figure=pareto_figure(record)))


def pareto_figure(record: BenchRecord) -> str:
    """Draw speed over memory, those that nothing beats in colour."""
    figure, axes = canvas(8.6, 4.2)
    for row in record.rows:
        place = row.peak_memory_bytes / 1e6, row.questions_per_s
        axes.plot(*place, "o", color=TUNED if row.pareto else MUTED, ms=8)
        text = f"{row.name.rpartition('/')[2]}, {100 * row.accuracy.value:.1f} %"
        axes.annotate(
            text, place, xytext=(7, 5), textcoords="offset points", color=INK, fontsize=8.5
        )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("peak memory of the process, MB")
    axes.set_ylabel("questions/s")
    axes.grid(color=INK, alpha=0.2)
    return svg(
        figure,
        "Speed over memory. "
        + "; ".join(
            f"{row.name}: {row.questions_per_s:.1f} questions/s in "
            f"{row.peak_memory_bytes / 1e6:.0f} MB, {100 * row.accuracy.value:.1f} % right"
            for row in record.rows
        ),
    )
