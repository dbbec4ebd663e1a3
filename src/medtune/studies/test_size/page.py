"""Render the page of the test-size study: verdict, figures, tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medtune.reports import result_table as table
from medtune.reports.figures import (
    BASE_COLOUR,
    BASELINE_COLOUR,
    SERIES_COLOURS,
    TEXT_COLOUR,
    TUNED_COLOUR,
    add_legend,
    create_axes,
    draw_baselines,
    render_svg,
)
from medtune.reports.templating import render_page
from medtune.studies.test_size.analysis import scale_detectable_difference
from medtune.studies.test_size.schema import (
    AccuracyAtSize,
    AccuracyBySize,
    DifferenceAtSize,
    DifferenceBySize,
    SampleSizeRecord,
    SampleSpread,
    StratifiedSpread,
)

Z_95 = 1.96
"""Half width of a 95 % interval in standard errors."""
_APART = 1.09
"""Factor between the x positions of two evaluations, so that their bars do not overlap."""


DIFFERENCE: list[table.Column[DifferenceAtSize]] = [
    table.number("questions", lambda s: s.n),
    table.percent("mean", lambda s: s.spread.mean, table.PAGE, "+.1f"),
    table.span("95 % of them", lambda s: (s.spread.low, s.spread.high), spec="+.1f"),
    table.span("all", lambda s: (s.spread.least, s.spread.most), table.PAGE, "+.1f"),
    table.percent("deviation", lambda s: s.spread.deviation, table.PAGE, ".2f"),
    table.percent("theory", lambda s: s.standard_error_finite, table.PAGE, ".2f"),
    table.percent("detectable", lambda s: s.minimum_detectable),
    table.percent("found, fresh %", lambda s: s.power_fresh),
    table.percent("found, of these %", lambda s: s.power),
    table.percent("wrong sign %", lambda s: s.wrong_sign, spec=".2f"),
]
BY_SUBJECT: list[table.Column[tuple[AccuracyAtSize, StratifiedSpread]]] = [
    table.number("questions", lambda s: s[0].n),
    table.percent("deviation, plain", lambda s: s[0].spread.deviation, spec=".2f"),
    table.percent("by subject", lambda s: s[1].spread.deviation, spec=".2f"),
    table.percent("theory, by subject", lambda s: s[1].standard_error, spec=".2f"),
    table.estimate("ratio", lambda s: _ratio(s[1]), spec=".3f", scale=1),
    table.number(
        "theory",
        lambda s: (
            s[1].standard_error / s[0].standard_error_finite if s[0].standard_error_finite else None
        ),
        ".3f",
    ),
    table.percent("mean, by subject %", lambda s: s[1].spread.mean),
    table.number("subjects not drawn", lambda s: s[1].subjects_missed),
]


def sizes_table(exam: AccuracyBySize) -> table.ResultTable[AccuracyAtSize]:
    """Return the table of one evaluation at all sizes."""
    columns: list[table.Column[AccuracyAtSize]] = [
        table.number("questions", lambda s: s.n),
        table.percent("mean %", lambda s: s.spread.mean, table.PAGE),
        table.span("95 % of them", lambda s: (s.spread.low, s.spread.high)),
        table.span("all", lambda s: (s.spread.least, s.spread.most), table.PAGE),
        table.percent("deviation", lambda s: s.spread.deviation, spec=".2f"),
        table.percent("theory", lambda s: s.standard_error_finite, spec=".2f"),
        table.percent("theory, fresh", lambda s: s.standard_error, table.PAGE, ".2f"),
        table.percent("Wilson ±", lambda s: s.half_width),
        table.percent("covers %", lambda s: s.coverage),
        table.percent("excludes chance %", lambda s: s.excludes_chance),
        table.percent(
            f"excludes {exam.majority_letter} %", lambda s: s.excludes_majority, table.PAGE
        ),
    ]
    if exam.sizes[-1].stratified is not None:
        ratio = "by subject, ratio"
        columns.append(
            table.number(
                ratio, lambda s: s.stratified.ratio if s.stratified else None, ".3f", table.TERMINAL
            )
        )
    return table.ResultTable(columns, exam.sizes)


def _ratio(drawn: StratifiedSpread) -> tuple[float, float, float] | None:
    if drawn.ratio is None or drawn.ratio_low is None or drawn.ratio_high is None:
        return None
    return drawn.ratio, drawn.ratio_low, drawn.ratio_high


def summarize(record: SampleSizeRecord) -> Iterator[str | table.ResultTable[Any]]:
    """Yield what a terminal shows, the verdict last."""
    for exam in record.evaluations:
        yield (
            f"{record.split} · {record.method} · {exam.label}: "
            f"{100 * exam.accuracy.value:.1f} %, n = {record.n:,}; "
            f"{record.draws:,} subsamples per size"
        )
        yield sizes_table(exam)
        yield ""
    if record.difference is not None:
        comparison = record.difference.comparison
        yield f"{comparison.b} against {comparison.a}, points"
        yield table.ResultTable(DIFFERENCE, record.difference.sizes)
        yield ""
    if record.left_out:
        sizes = ", ".join(f"{size:,}" for size in record.left_out)
        yield f"sizes left out, since there are only {record.n:,} questions: {sizes}"
    yield record.verdict
    if record.subjects_verdict is not None:
        yield record.subjects_verdict


def render(record: SampleSizeRecord) -> str:
    """Render the page."""
    difference = record.difference
    figures = {
        "accuracy": plot_accuracy_by_size(record.evaluations),
        "difference": plot_difference_by_size(difference) if difference else None,
        "power": plot_power(difference) if difference else None,
    }
    by_subject = [
        [(s, s.stratified) for s in exam.sizes if s.n < record.n and s.stratified]
        for exam in record.evaluations
    ]
    return render_page(
        "studies/test_size.html",
        study=record,
        figures=figures,
        sizes=[(exam, sizes_table(exam)) for exam in record.evaluations],
        differences=table.ResultTable(DIFFERENCE, difference.sizes if difference else ()),
        by_subject=[table.ResultTable(BY_SUBJECT, rows) for rows in by_subject],
    )


def plot_accuracy_by_size(evaluations: Sequence[AccuracyBySize]) -> str:
    """Draw the spread of accuracies at each size, with the theoretical curves."""
    figure, axes = create_axes(8.6, 3.6)
    colours = (TUNED_COLOUR,) if len(evaluations) == 1 else (BASE_COLOUR, TUNED_COLOUR)
    for place, (exam, colour) in enumerate(zip(evaluations, colours, strict=True)):
        value = exam.accuracy.value
        _draw_spreads(
            axes, [(size.n, size.spread) for size in exam.sizes], colour, place, exam.label
        )
        last = exam.sizes[-1].n
        _draw_theory_band(axes, exam.sizes[0].n, last, value, (value * (1 - value)) ** 0.5, colour)
    draw_baselines(axes.axhline, evaluations[0].chance, evaluations[0].majority.value)
    axes.set_ylabel("accuracy, %")
    _style_size_axis(axes, [size.n for size in evaluations[0].sizes])
    return _finish_figure(figure, axes)


def plot_difference_by_size(difference: DifferenceBySize) -> str:
    """Draw the spread of the difference and the minimum detectable one at each size."""
    figure, axes = create_axes(8.6, 3.6)
    sizes, observed = difference.sizes, difference.comparison.difference
    _draw_spreads(axes, [(size.n, size.spread) for size in sizes], TUNED_COLOUR, 0, "subsamples")
    deviation = max(0.0, difference.discordance - observed**2) ** 0.5
    _draw_theory_band(axes, sizes[0].n, sizes[-1].n, observed, deviation, TUNED_COLOUR)
    places = _size_range(sizes[0].n, sizes[-1].n)
    detectable = [
        100 * scale_detectable_difference(place, difference.comparison) for place in places
    ]
    axes.plot(
        places, detectable, color=BASELINE_COLOUR, lw=1.5, label="minimum detectable, both signs"
    )
    axes.plot(places, [-value for value in detectable], color=BASELINE_COLOUR, lw=1.5)
    axes.axhline(0, color=TEXT_COLOUR, lw=1)
    axes.set_ylabel("difference, points")
    _style_size_axis(axes, [size.n for size in sizes])
    return _finish_figure(figure, axes)


def plot_power(difference: DifferenceBySize) -> str:
    """Draw the power to find the observed difference at each size."""
    figure, axes = create_axes(8.6, 2.8)
    sizes = difference.sizes
    places = [size.n for size in sizes]
    fresh = [100 * size.power_fresh for size in sizes]
    axes.plot(places, fresh, "o-", color=TUNED_COLOUR, lw=2, ms=5, label="fresh questions")
    inside = [100 * size.power for size in sizes]
    axes.plot(
        places, inside, "o--", color=SERIES_COLOURS[0], lw=1.5, ms=4, label="subsamples of these"
    )
    wrong = [100 * size.wrong_sign for size in sizes if size.wrong_sign is not None]
    if len(wrong) == len(sizes):
        axes.plot(
            places, wrong, "x-", color=SERIES_COLOURS[1], lw=1.5, label="wrong sign, subsamples"
        )
    axes.axhline(80, color=TEXT_COLOUR, lw=1, ls=":")
    axes.set_ylim(-3, 103)
    axes.set_ylabel("tests with p < 0.05, %")
    _style_size_axis(axes, places)
    return _finish_figure(figure, axes)


def _draw_spreads(
    axes: Any, spreads: Sequence[tuple[int, SampleSpread]], colour: str, place: int, label: str
) -> None:
    for n, spread in spreads:
        x = n * _APART**place
        axes.plot([x, x], [100 * spread.least, 100 * spread.most], color=colour, lw=0.8)
        axes.plot([x, x], [100 * spread.low, 100 * spread.high], color=colour, lw=3.5)
    places = [n * _APART**place for n, _ in spreads]
    means = [100 * spread.mean for _, spread in spreads]
    axes.plot(places, means, "o", color=colour, ms=6, label=label)


def _draw_theory_band(
    axes: Any, first: int, total: int, mean: float, deviation: float, colour: str
) -> None:
    """Draw mean ± 1.96 standard errors: of n out of these questions, and of n fresh ones."""
    places = _size_range(first, total)
    fresh = deviation / np.sqrt(places)
    within = fresh * np.sqrt((total - places) / (total - 1))
    for errors, style in ((within, "-"), (fresh, ":")):
        for sign in (-1, 1):
            axes.plot(places, 100 * (mean + sign * Z_95 * errors), style, color=colour, lw=1)


def _size_range(first: int, last: int) -> Any:
    return np.minimum(np.geomspace(first, last, 120), last)


def _style_size_axis(axes: Any, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    # Labels of nearly equal sizes would overlap.
    named = [a for a, b in zip(sizes, [*sizes[1:], 10 * sizes[-1]], strict=True) if b > 1.25 * a]
    axes.set_xticks(named, [f"{n:,}" for n in named])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
    axes.set_xlabel("questions")
    axes.grid(axis="y", color=TEXT_COLOUR, alpha=0.2)


def _finish_figure(figure: Any, axes: Any) -> str:
    add_legend(figure, len(axes.get_legend_handles_labels()[0]))
    return render_svg(figure)
