"""Write the page of the parity gate: verdict, figure, table."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from medtune.core.records import EvaluationRecord
from medtune.core.run_folder import write_text
from medtune.core.schemas.compression import Parity, ParityRecord
from medtune.reports import result_table as table
from medtune.reports.figures import MUTED_COLOUR, TEXT_COLOUR, TUNED_COLOUR, create_axes, render_svg
from medtune.reports.templating import render_page


class ParityLine(NamedTuple):
    """The original, or a candidate."""

    name: str
    file_bytes: int | None
    evaluation: EvaluationRecord
    row: Parity | None = None


LINES: list[table.Column[ParityLine]] = [
    table.label("model", lambda m: m.name),
    table.number("MB", lambda m: m.file_bytes, ",.0f", scale=1e-6),
    table.estimate("correct %", lambda m: m.evaluation.accuracy),
    table.estimate("difference", lambda m: m.row and _difference(m.row), table.PAGE, "+.1f"),
    table.number(
        "points lost, at most",
        lambda m: max(0.0, -100 * m.row.comparison.difference_low) if m.row else None,
        ".1f",
        ("terminal", "markdown"),
    ),
    table.estimate("same option %", lambda m: m.row and m.row.agreement),
    table.number("moved, nats", lambda m: m.row.mean_drift if m.row else None, ".3f"),
    table.number("largest", lambda m: m.row.max_drift if m.row else None, ".2f", table.PAGE),
    table.percent(
        "calibration", lambda m: m.row.calibration_shift if m.row else None, table.PAGE, "+.1f"
    ),
    table.number("questions/s", lambda m: m.evaluation.questions_per_s, ".1f", table.SCREEN),
    table.label(
        "run by",
        lambda m: f"{m.evaluation.model.device or '-'}, {m.evaluation.model.dtype or '-'}",
        ("page", "markdown"),
    ),
    table.label("verdict", lambda m: _verdict(m.row), ("markdown",)),
]


def parity_table(record: ParityRecord) -> table.ResultTable[ParityLine]:
    """Return the table of the original and its candidates."""
    original = ParityLine("original", record.reference_bytes, record.reference)
    lines = [ParityLine(row.name, row.file_bytes, row.evaluation, row) for row in record.rows]
    return table.ResultTable(LINES, [original, *lines])


def _verdict(row: Parity | None) -> str | None:
    if row is None:
        return None
    return "fit" if row.meets_budget else "unfit"


def _difference(row: Parity) -> tuple[float, float, float]:
    found = row.comparison
    return found.difference, found.difference_low, found.difference_high


def write_parity(path: Path, record: ParityRecord) -> None:
    """Write the page of the parity gate.

    Raises:
        FolderError: The page cannot be written.
    """
    write_text(
        path,
        render_page(
            "parity.html",
            gate=record,
            lines=parity_table(record),
            figure=plot_accuracy_loss(record),
        ),
    )


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
