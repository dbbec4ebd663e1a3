"""Render the page of the robustness study: verdict, figures, tables."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.core.records import Proportion, Variant
from medtune.core.schemas.analysis import Flips
from medtune.reports import result_table as table
from medtune.reports.figures import (
    MUTED_COLOUR,
    SERIES_COLOURS,
    AccuracyRow,
    plot_accuracy_rows,
    plot_bars,
)
from medtune.reports.templating import render_page
from medtune.studies.robustness.schema import (
    VARIANT_TITLES,
    NoneOfTheAbove,
    RobustnessRecord,
    SuggestionEffect,
    VariantFinding,
)

FINDINGS: list[table.Column[VariantFinding]] = [
    table.label("asked", lambda f: f.variant, table.TERMINAL),
    table.label("how they were asked", lambda f: VARIANT_TITLES[f.variant], table.PAGE),
    table.estimate("correct %", lambda f: f.accuracy),
    table.number("n", lambda f: f.accuracy.n),
    table.number("left out", lambda f: f.left_out, media=table.PAGE),
    table.percent("unchanged %", lambda f: None if f.variant == "plain" else f.plain),
    table.number(
        "lost", lambda f: None if f.variant == "plain" else f.only_plain, media=table.PAGE
    ),
    table.number("won", lambda f: None if f.variant == "plain" else f.only_here, media=table.PAGE),
    table.p_value("p", lambda f: None if f.variant == "plain" else f.p_value),
    table.estimate(
        "suggested option chosen %", lambda f: f.push and f.push.followed, table.TERMINAL
    ),
    table.percent("before %", lambda f: f.push.before if f.push else None, table.TERMINAL),
    table.percent("answered %", lambda f: f.answer_rate, table.PAGE),
    table.percent("chance %", lambda f: f.chance, table.PAGE),
    table.number(
        "majority %",
        lambda f: f"{100 * f.majority.value:.1f} ({f.majority_letter})",
        media=table.PAGE,
    ),
]
ORDERS: list[table.Column[tuple[int, Proportion]]] = [
    table.label("shifted by", lambda o: str(o[0])),
    table.estimate("correct %", lambda o: o[1]),
    table.number("n", lambda o: o[1].n),
]
PUSHES: list[table.Column[tuple[Variant, SuggestionEffect]]] = [
    table.label("how", lambda p: VARIANT_TITLES[p[0]]),
    table.number("n", lambda p: p[1].followed.n),
    table.estimate("followed %", lambda p: p[1].followed),
    table.estimate("before %", lambda p: p[1].before),
    table.estimate("won over %", lambda p: p[1].won),
    table.number("of", lambda p: p[1].won.n if p[1].won else None),
    table.p_value("p", lambda p: p[1].p_value),
]
NONE_OF_THE_ABOVE: list[table.Column[tuple[str, Proportion | None]]] = [
    table.label("“None of the above”", lambda p: p[0]),
    table.estimate("%", lambda p: p[1]),
    table.number("n", lambda p: p[1].n if p[1] else None),
]


def summarize(record: RobustnessRecord) -> Iterator[str | table.ResultTable[VariantFinding]]:
    """Yield what a terminal shows, the verdict last."""
    yield table.ResultTable(FINDINGS, record.findings)
    if (flips := record.flips) is not None:
        rstd = flips.rstd
        bias = "" if rstd is None else f"; RStd of the letters' recalls {100 * rstd:.1f} points"
        changed = table.format_percent_interval(flips.any)
        yield f"the answer to {changed} of the questions changes with the order{bias}"
    yield from (f"! {line}" for line in record.warnings)
    yield record.verdict


def render(record: RobustnessRecord) -> str:
    """Render the page.

    The figure of accuracies has the options in the given order for every variant: a mean over
    orders next to single orders would suggest a loss that does not exist.
    """
    rows = [
        AccuracyRow(VARIANT_TITLES[f.variant], f.accuracy, f.chance, f.majority.value)
        for f in record.findings
    ]
    pushed = [(f.variant, f.push) for f in record.findings if f.push]
    bars = {
        VARIANT_TITLES[variant]: [100 * push.before.value, 100 * push.followed.value]
        for variant, push in pushed
    }
    names = ["suggested option chosen without the suggestion", "with it"]
    colours = [MUTED_COLOUR, SERIES_COLOURS[0]]
    return render_page(
        "studies/robustness.html",
        study=record,
        findings=table.ResultTable(FINDINGS, record.findings),
        accuracy=plot_accuracy_rows(rows),
        pushes=plot_bars(bars, names, colours, lying=True) if bars else "",
        pushed=table.ResultTable(PUSHES, pushed),
        letters=_plot_letters(record.flips) if record.flips else "",
        orders=table.ResultTable(
            ORDERS, list(enumerate(record.flips.accuracy if record.flips else ()))
        ),
        nones=[
            (f.left_out, _none_table(f.none_of_the_above))
            for f in record.findings
            if f.none_of_the_above
        ],
    )


def _none_table(found: NoneOfTheAbove) -> table.ResultTable[tuple[str, Proportion | None]]:
    rows = [
        ("accuracy where it is right", found.right),
        ("accuracy where it is wrong", found.wrong),
        ("chosen", found.chosen),
    ]
    return table.ResultTable(NONE_OF_THE_ABOVE, rows)


def _plot_letters(flipped: Flips) -> str:
    total = sum(flipped.letters.values())
    shares = {
        letter: [100 * flipped.letters.get(letter, 0) / total, 100 * recall.value]
        for letter, recall in flipped.recalls.items()
    }
    return plot_bars(shares, ["chosen", "recall: chosen where right"], SERIES_COLOURS)
