"""Render the page of the learning curve: verdict, figures, tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from medtune.reports import result_table as table
from medtune.reports.figures import (
    BASE_COLOUR,
    SERIES_COLOURS,
    TEXT_COLOUR,
    add_legend,
    create_axes,
    draw_baselines,
    render_svg,
)
from medtune.reports.templating import render_page
from medtune.studies.learning_curve.analysis import describe_test
from medtune.studies.learning_curve.schema import (
    Arm,
    Contrast,
    CurvePoint,
    Equal,
    LearningCurve,
    LearningCurveRecord,
)

POINTS: list[table.Column[CurvePoint]] = [
    table.label("selection", lambda p: p.arm.selection),
    table.label("target", lambda p: p.arm.target),
    table.label("equal", lambda p: p.arm.equal),
    table.label("book", lambda p: p.arm.book),
    table.number("questions", lambda p: p.arm.size),
    table.number("seeds", lambda p: len(p.seeds)),
    table.number("steps", lambda p: p.steps),
    table.estimate("correct %", lambda p: (p.accuracy, p.low, p.high)),
    table.percent("SD", lambda p: p.deviation),
    table.estimate("gain, points", lambda p: (p.gain, p.gain_low, p.gain_high), spec="+.1f"),
]
CONTRASTS: list[table.Column[Contrast]] = [
    table.label("few", lambda c: f"{c.few.size:,} {c.few.selection}"),
    table.label("many", lambda c: f"{c.many.size:,} {c.many.selection}"),
    table.label("target", lambda c: c.few.target),
    table.label("equal", lambda c: c.few.equal),
    table.label("book", lambda c: c.few.book),
    table.number("n", lambda c: c.n),
    table.estimate("difference", lambda c: (c.difference, c.low, c.high), spec="+.1f"),
    table.label("test", describe_test),
]
CURVES: list[table.Column[LearningCurve]] = [
    table.label("selection", lambda c: c.arm.selection),
    table.label("target", lambda c: c.arm.target),
    table.label("equal", lambda c: c.arm.equal),
    table.label("book", lambda c: c.arm.book),
    table.estimate("next doubling, points", lambda c: c.law and c.law.doubling, spec="+.1f"),
    table.estimate("ceiling %", lambda c: c.law and c.law.ceiling),
    table.estimate("rest, points", lambda c: c.law and c.law.rest, spec="+.1f"),
    table.estimate("exponent", lambda c: c.law and c.law.exponent, spec=".2f", scale=1),
    table.percent("SD", lambda c: c.seed_deviation),
    table.p_value("misfit p", lambda c: c.law.misfit_p if c.law else None),
]


def summarize(record: LearningCurveRecord) -> Iterator[str | table.ResultTable[CurvePoint]]:
    """Yield what a terminal shows, the verdict last."""
    yield table.ResultTable(POINTS, record.points)
    yield from describe_bases(record)
    for curve in record.curves:
        yield curve.verdict
    yield record.verdict


def describe_bases(record: LearningCurveRecord) -> Iterator[str]:
    """Yield a line for the base model by kind of retrieval, beside the search."""
    for kind, base in record.bases.items():
        name = "base model" if kind == "none" else f"base model, {kind} passages"
        line = f"{name}: {table.format_percent_interval(base.accuracy)}, n = {base.counts.n:,}"
        if base.search is not None:
            line += f"; text search {table.format_percent_interval(base.search.accuracy)}"
        yield line


def render(record: LearningCurveRecord) -> str:
    """Render the page."""
    kinds: list[Equal] = ["epochs", "steps"]
    figures = {
        equal: plot_learning_curve(record, equal)
        for equal in kinds
        if any(point.arm.equal == equal for point in record.points)
    }
    return render_page(
        "studies/learning_curve.html",
        study=record,
        figures=figures,
        points=table.ResultTable(POINTS, record.points),
        contrasts=table.ResultTable(CONTRASTS, record.contrasts),
        curves=table.ResultTable(CURVES, record.curves),
        bases=list(describe_bases(record)),
    )


def plot_learning_curve(record: LearningCurveRecord, equal: Equal) -> str:
    """Draw accuracy over size, a line for every selection, target and kind of retrieval.

    A fitted law is dashed, up to twice its largest size.
    """
    figure, axes = create_axes(8.6, 4.0)
    lines: dict[str, list[CurvePoint]] = defaultdict(list)
    for point in record.points:
        if point.arm.equal == equal:
            lines[_line_name(point.arm)].append(point)
    laws = {_line_name(c.arm): c.law for c in record.curves if c.arm.equal == equal and c.law}
    for place, (name, points) in enumerate(lines.items()):
        colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
        # Shifted a little, so that bars at one size do not overlap.
        at = [point.arm.size * 1.04**place for point in points]
        values = [100 * point.accuracy for point in points]
        axes.plot(at, values, "o" if name in laws else "o-", color=colour, lw=1.8, ms=5, label=name)
        for x, point in zip(at, points, strict=True):
            axes.plot([x, x], [100 * point.low, 100 * point.high], color=colour, lw=1, alpha=0.7)
        if law := laws.get(name):
            first, last = min(law.sizes), 2 * max(law.sizes)
            grid = [first * (last / first) ** (step / 60) for step in range(61)]
            axes.plot(grid, [100 * law.predict(x) for x in grid], "--", color=colour, lw=1.4)
    base = record.base
    axes.axhline(100 * base.accuracy.value, color=BASE_COLOUR, lw=1.2, label="base model")
    draw_baselines(axes.axhline, base.chance, base.majority.value)
    sizes = sorted({point.arm.size for point in record.points})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel(f"training questions, equal {equal}")
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", color=TEXT_COLOUR, alpha=0.2)
    add_legend(figure, 3)
    parts = [
        f"{name}: " + ", ".join(f"{p.arm.size} {100 * p.accuracy:.1f}" for p in points)
        for name, points in lines.items()
    ]
    return render_svg(figure, f"Accuracy by size, equal {equal}, per cent. " + "; ".join(parts))


def _line_name(arm: Arm) -> str:
    return f"{arm.selection}, {arm.target}" + ("" if arm.retrieval == "none" else f", {arm.book}")
