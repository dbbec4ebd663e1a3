"""Render the page of the open-book study: verdict, figures, table."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.reports import result_table as table
from medtune.reports.figures import (
    BASELINE_COLOUR,
    SERIES_COLOURS,
    TEXT_COLOUR,
    add_legend,
    create_axes,
    render_svg,
)
from medtune.reports.templating import render_page
from medtune.studies.open_book.schema import BookPoint, OpenBookRecord, PairedGain


def _ends(gain: PairedGain | None) -> tuple[float, float, float] | None:
    return (gain.value, gain.low, gain.high) if gain is not None else None


POINTS: list[table.Column[BookPoint]] = [
    table.label("model", lambda p: p.setting.model or "search"),
    table.label("book", lambda p: p.setting.kind),
    table.number("passages", lambda p: p.setting.passages or None),
    table.number("index %", lambda p: p.setting.share, "g"),
    table.number("searched", lambda p: p.indexed, media=table.PAGE),
    table.estimate("correct %", lambda p: p.accuracy),
    table.estimate("less similar %", lambda p: p.less_similar, table.PAGE),
    table.percent("less similar %", lambda p: p.less_similar, ("terminal", "markdown")),
    table.estimate("over closed", lambda p: _ends(p.over_closed), spec="+.1f"),
    table.estimate("over search", lambda p: _ends(p.over_search), spec="+.1f"),
]


def summarize(record: OpenBookRecord) -> Iterator[str | table.ResultTable[BookPoint]]:
    """Yield what a terminal shows, the verdict last."""
    yield table.ResultTable(POINTS, record.points)
    left_out = ", ".join(f"{n:,} of {share:g} %" for share, n in record.shares.items())
    yield (
        f"{record.data.source} by {record.method}, n = {record.n:,}; passages left out as "
        f"near-duplicates of the questions: {left_out}"
    )
    yield record.verdict


def render(record: OpenBookRecord) -> str:
    """Render the page."""
    return render_page(
        "studies/open_book.html",
        study=record,
        figures={model: plot_open_book(record, model) for model in record.models},
        points=table.ResultTable(POINTS, record.points),
    )


def plot_open_book(record: OpenBookRecord, model: str) -> str:
    """Draw a model's accuracy over the passages in its prompt, a line for every share and kind."""
    figure, axes = create_axes(8.6, 4.0)
    lines: dict[str, list[BookPoint]] = {}
    closed = next(
        p for p in record.points if p.setting.model == model and p.setting.kind == "closed"
    )
    for point in record.points:
        if point.setting.model == model and point.setting.passages:
            name = f"{point.setting.kind}, {point.setting.share:g} % of the index"
            lines.setdefault(name, [closed]).append(point)
    for place, (name, points) in enumerate(lines.items()):
        colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
        # Shifted a little, so that bars at one number of passages do not overlap.
        at = [point.setting.passages + 0.05 * place for point in points]
        values = [100 * point.accuracy.value for point in points]
        axes.plot(at, values, "o-", color=colour, lw=1.8, ms=5, label=name)
        for x, point in zip(at, points, strict=True):
            ends = [100 * point.accuracy.low, 100 * point.accuracy.high]
            axes.plot([x, x], ends, color=colour, lw=1, alpha=0.7)
    searches = [point for point in record.points if point.setting.kind == "search"]
    right = max(p.setting.passages for p in record.points)
    for place, point in enumerate(searches):
        x, ends = right + 0.4 + 0.1 * place, [100 * point.accuracy.low, 100 * point.accuracy.high]
        axes.plot([x, x], ends, color=TEXT_COLOUR, lw=1, alpha=0.7)
        axes.axhline(
            100 * point.accuracy.value,
            color=TEXT_COLOUR,
            lw=1.2,
            ls=("-", "-.")[place % 2],
            label=point.setting.display_name,
        )
    axes.axhline(100 * record.chance, color=BASELINE_COLOUR, lw=1.2, ls="--", label="chance")
    axes.set_xticks(sorted({p.setting.passages for p in record.points}))
    axes.set_xlabel("passages in the prompt (0: closed book)")
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", color=TEXT_COLOUR, alpha=0.2)
    add_legend(figure, 2)
    parts = [
        f"{name}: "
        + ", ".join(f"{p.setting.passages} {100 * p.accuracy.value:.1f}" for p in points)
        for name, points in lines.items()
    ]
    parts += [f"{p.setting.display_name}: {100 * p.accuracy.value:.1f}" for p in searches]
    return render_svg(figure, f"{model}: accuracy by passages, per cent. " + "; ".join(parts))
