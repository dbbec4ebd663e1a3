"""Render the page of the decoding study: verdict, Pareto figure, table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medtune.reports import result_table as table
from medtune.reports.figures import (
    BASELINE_COLOUR,
    MUTED_COLOUR,
    TEXT_COLOUR,
    TUNED_COLOUR,
    create_axes,
    render_svg,
)
from medtune.reports.templating import render_page
from medtune.studies.decoding.schema import DecodingPoint, DecodingRecord


def points_table(record: DecodingRecord) -> table.ResultTable[DecodingPoint]:
    """Return the table of the settings."""

    def mark(point: DecodingPoint) -> str:
        if point.setting.name == record.recommended:
            return "recommended"
        return "Pareto-optimal" if point.pareto else ""

    columns: list[table.Column[DecodingPoint]] = [
        table.label("", lambda p: "*" if p.pareto else "", table.TERMINAL),
        table.text("decoding", lambda p: p.setting.display_name),
        table.number("repeats", lambda p: p.repeats, media=table.PAGE),
        table.number("questions/s", lambda p: p.questions_per_s, ".1f"),
        table.number("tokens an answer", lambda p: p.written, ".1f"),
        table.estimate("correct %", lambda p: (p.accuracy, p.low, p.high)),
        table.percent("answered %", lambda p: p.answer_rate),
        table.percent("stops %", lambda p: p.stop_rate, table.SCREEN),
        table.percent("agree %", lambda p: p.agreement),
        table.number("entropy", lambda p: p.entropy, ".2f", table.PAGE),
        table.estimate(
            "behind", lambda p: (p.behind, p.behind_low, p.behind_high), table.PAGE, "+.1f"
        ),
        table.label("", mark, ("page", "markdown")),
    ]
    return table.ResultTable(columns, record.points)


def summarize(record: DecodingRecord) -> Iterator[str | table.ResultTable[DecodingPoint]]:
    """Yield what a terminal shows, the verdict last."""
    yield points_table(record)
    yield (
        f"{record.label} on {record.data.source}, n = {record.n:,}; "
        "* Pareto-optimal in speed and accuracy"
    )
    yield record.verdict


def render(record: DecodingRecord) -> str:
    """Render the page."""
    return render_page(
        "studies/decoding.html",
        study=record,
        pareto=plot_accuracy_speed(record),
        points=points_table(record),
    )


def plot_accuracy_speed(record: DecodingRecord) -> str:
    """Draw accuracy over speed, with the Pareto front as a line."""
    figure, axes = create_axes(8.6, 4.2)
    unbeaten = sorted((p for p in record.points if p.pareto), key=lambda p: p.questions_per_s)
    axes.plot(
        [p.questions_per_s for p in unbeaten], [100 * p.accuracy for p in unbeaten],
        color=TUNED_COLOUR, lw=1.5, zorder=1, label="Pareto front",
    )  # fmt: skip
    for point in record.points:
        colour = TUNED_COLOUR if point.pareto else MUTED_COLOUR
        edges = [100 * point.low, 100 * point.high]
        axes.plot([point.questions_per_s] * 2, edges, color=colour, lw=1, alpha=0.6)
        axes.plot(point.questions_per_s, 100 * point.accuracy, "o", color=colour, ms=6)
    for point in select_labelled_points(record):
        axes.annotate(
            point.setting.display_name,
            (point.questions_per_s, 100 * point.accuracy),
            xytext=(6, 5),
            textcoords="offset points",
            color=TEXT_COLOUR,
            fontsize=8.5,
        )
    axes.axhline(100 * record.chance, color=BASELINE_COLOUR, lw=1.2, ls="--", label="chance")
    axes.set_xscale("log")
    ticks = _speed_ticks([p.questions_per_s for p in record.points])
    # The labels of the log scale are formulas, which these figures would show as source text.
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("questions/s")
    axes.set_ylabel("accuracy, %")
    axes.set_ylim(bottom=0)
    axes.grid(color=TEXT_COLOUR, alpha=0.2)
    axes.legend(frameon=False, labelcolor=TEXT_COLOUR, fontsize=9)
    return render_svg(
        figure,
        "Accuracy over speed. "
        + "; ".join(
            f"{p.setting.display_name}: {100 * p.accuracy:.1f} % at {p.questions_per_s:.1f} "
            "questions/s"
            for p in record.points
        ),
    )


def _speed_ticks(speeds: Sequence[float]) -> list[float]:
    """Return the ticks 1, 2 and 5 of every power of ten around the speeds."""
    low, high = min(speeds), max(speeds)
    ticks = [step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
    return [tick for tick in ticks if low / 2.5 <= tick <= high * 2.5]


def select_labelled_points(record: DecodingRecord) -> Sequence[DecodingPoint]:
    """Return the points labelled in the figure: the Pareto front and the recommended one."""
    return [p for p in record.points if p.pareto or p.setting.name == record.recommended]
