"""Write the benchmark page: figure and table."""

from __future__ import annotations

from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.core.schemas.compression import BenchRecord
from medtune.reports.figures import MUTED_COLOUR, TEXT_COLOUR, TUNED_COLOUR, create_axes, render_svg
from medtune.reports.templating import render_page


def write_bench(path: Path, record: BenchRecord) -> None:
    """Write the benchmark page.

    Raises:
        FolderError: The page cannot be written.
    """
    write_text(path, render_page("bench.html", bench=record, figure=plot_speed_memory(record)))


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
