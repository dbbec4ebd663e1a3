"""The study of decoding as a page: verdict, Pareto figure, table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.reports.figures import CHANCE, INK, MUTED, TUNED, canvas, svg
from medtune.reports.templating import render
from medtune.studies.decoding.schema import DecodingPoint, DecodingRecord


def write_decoding(path: Path, record: DecodingRecord) -> None:
    """Write the page.

    Raises:
        FolderError: The page cannot be written.
    """
    figure = pareto_figure(record)
    write_text(path, render("studies/decoding.html", study=record, pareto=figure))


def pareto_figure(record: DecodingRecord) -> str:
    """Draw accuracy over speed, what nothing beats joined by a line."""
    figure, axes = canvas(8.6, 4.2)
    unbeaten = sorted((p for p in record.points if p.pareto), key=lambda p: p.questions_per_s)
    axes.plot(
        [p.questions_per_s for p in unbeaten], [100 * p.accuracy for p in unbeaten],
        color=TUNED, lw=1.5, zorder=1, label="not beaten in both",
    )  # fmt: skip
    for point in record.points:
        colour = TUNED if point.pareto else MUTED
        edges = [100 * point.low, 100 * point.high]
        axes.plot([point.questions_per_s] * 2, edges, color=colour, lw=1, alpha=0.6)
        axes.plot(point.questions_per_s, 100 * point.accuracy, "o", color=colour, ms=6)
    for point in named(record):
        axes.annotate(
            point.setting.spoken,
            (point.questions_per_s, 100 * point.accuracy),
            xytext=(6, 5),
            textcoords="offset points",
            color=INK,
            fontsize=8.5,
        )
    axes.axhline(100 * record.chance, color=CHANCE, lw=1.2, ls="--", label="chance")
    axes.set_xscale("log")
    ticks = _ticks([p.questions_per_s for p in record.points])
    # The log scale's own names are formulas, which figures here show as they are written.
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("questions/s")
    axes.set_ylabel("accuracy, %")
    axes.set_ylim(bottom=0)
    axes.grid(color=INK, alpha=0.2)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return svg(
        figure,
        "Accuracy over speed. "
        + "; ".join(
            f"{p.setting.spoken}: {100 * p.accuracy:.1f} % at {p.questions_per_s:.1f} questions/s"
            for p in record.points
        ),
    )


def _ticks(speeds: Sequence[float]) -> list[float]:
    """Choose 1, 2 and 5 of every power of ten around the speeds."""
    low, high = min(speeds), max(speeds)
    ticks = [step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
    return [tick for tick in ticks if low / 2.5 <= tick <= high * 2.5]


def named(record: DecodingRecord) -> Sequence[DecodingPoint]:
    """Choose the points that are named in the figure: the unbeaten ones and the recommended."""
    return [p for p in record.points if p.pareto or p.setting.name == record.recommended]
