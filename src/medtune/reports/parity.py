"""Write the page of the parity gate: verdict, figure, table."""

from __future__ import annotations

from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.core.schemas.compression import ParityRecord
from medtune.reports.figures import MUTED_COLOUR, TEXT_COLOUR, TUNED_COLOUR, create_axes, render_svg
from medtune.reports.templating import render_page


def write_parity(path: Path, record: ParityRecord) -> None:
    """Write the page of the parity gate.

    Raises:
        FolderError: The page cannot be written.
    """
    write_text(path, render_page("parity.html", gate=record, figure=plot_accuracy_loss(record)))


def plot_accuracy_loss(record: ParityRecord) -> str:
    """Draw each candidate's paired difference of accuracy, with the largest accepted loss."""
    rows = list(reversed(record.rows))
    figure, axes = create_axes(8.6, 0.9 + 0.45 * len(rows))
    for at, row in enumerate(rows):
        found = row.comparison
        colour = TUNED_COLOUR if row.meets_budget else MUTED_COLOUR
        axes.plot(
            [100 * found.difference_low, 100 * found.difference_high], [at, at], color=colour, lw=2
        )
        axes.plot(100 * found.difference, at, "o", color=colour, ms=7)
        axes.plot([-100 * row.budget.loss] * 2, [at - 0.3, at + 0.3], color=TEXT_COLOUR, lw=1.5)
    axes.axvline(0, color=TEXT_COLOUR, lw=1, alpha=0.5)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("accuracy against the original, points; the bar is the most that may be lost")
    return render_svg(
        figure,
        "Paired difference of accuracy. "
        + "; ".join(
            f"{row.name}: {100 * row.comparison.difference:+.1f} points "
            f"({100 * row.comparison.difference_low:+.1f} to "
            f"{100 * row.comparison.difference_high:+.1f}), "
            f"{'fit' if row.meets_budget else 'unfit'}"
            for row in record.rows
        ),
    )
