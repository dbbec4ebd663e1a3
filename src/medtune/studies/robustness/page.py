"""Render the page of the robustness study: verdict, figures, tables."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.core.records import Proportion, Variant
from medtune.core.schemas.analysis import Flips
from medtune.reports.figures import (
    MUTED_COLOUR,
    SERIES_COLOURS,
    AccuracyRow,
    plot_accuracy_rows,
    plot_bars,
)
from medtune.reports.result_table import (
    PAGE,
    TERMINAL,
    Column,
    ResultTable,
    estimate,
    format_percent_interval,
    label,
    number,
    p_value,
    percent,
)
from medtune.reports.templating import render_page
from medtune.studies.robustness.schema import (
    VARIANT_TITLES,
    NoneOfTheAbove,
    RobustnessRecord,
    SuggestionEffect,
    VariantFinding,
)

FINDINGS: list[Column[VariantFinding]] = [
    label("asked", lambda f: f.variant, TERMINAL),
    label("how they were asked", lambda f: VARIANT_TITLES[f.variant], PAGE),
    estimate("correct %", lambda f: f.accuracy),
    number("n", lambda f: f.accuracy.n),
    number("left out", lambda f: f.left_out, media=PAGE),
    percent("plainly %", lambda f: None if f.variant == "plain" else f.plain),
    number("lost", lambda f: None if f.variant == "plain" else f.only_plain, media=PAGE),
    number("won", lambda f: None if f.variant == "plain" else f.only_here, media=PAGE),
    p_value("p", lambda f: None if f.variant == "plain" else f.p_value),
    estimate("pushed option chosen %", lambda f: f.push and f.push.followed, TERMINAL),
    percent("before %", lambda f: f.push.before if f.push else None, TERMINAL),
    percent("answered %", lambda f: f.answer_rate, PAGE),
    percent("chance %", lambda f: f.chance, PAGE),
    number(
        "majority %",
        lambda f: f"{100 * f.majority.value:.1f} ({f.majority_letter})",
        media=PAGE,
    ),
]
ORDERS: list[Column[tuple[int, Proportion]]] = [
    label("shifted by", lambda o: str(o[0])),
    estimate("correct %", lambda o: o[1]),
    number("n", lambda o: o[1].n),
]
PUSHES: list[Column[tuple[Variant, SuggestionEffect]]] = [
    label("how", lambda p: VARIANT_TITLES[p[0]]),
    number("n", lambda p: p[1].followed.n),
    estimate("followed %", lambda p: p[1].followed),
    estimate("before %", lambda p: p[1].before),
    estimate("won over %", lambda p: p[1].won),
    number("of", lambda p: p[1].won.n if p[1].won else None),
    p_value("p", lambda p: p[1].p_value),
]
NONE_OF_THE_ABOVE: list[Column[tuple[str, Proportion | None]]] = [
    label("“None of the above”", lambda p: p[0]),
    estimate("%", lambda p: p[1]),
    number("n", lambda p: p[1].n if p[1] else None),
]


def summarize(record: RobustnessRecord) -> Iterator[str | ResultTable[VariantFinding]]:
    """Yield what a terminal shows, the verdict last."""
    yield ResultTable(FINDINGS, record.findings)
    if (flips := record.flips) is not None:
        bias = "" if flips.rstd is None else f"; RStd of the letters' recalls {flips.rstd:.3f}"
        yield f"{format_percent_interval(flips.any)} of the answers change with the order{bias}"
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
    names = ["option chosen without the push", "with it"]
    colours = [MUTED_COLOUR, SERIES_COLOURS[0]]
    return render_page(
        "studies/robustness.html",
        study=record,
        findings=ResultTable(FINDINGS, record.findings),
        accuracy=plot_accuracy_rows(rows),
        pushes=plot_bars(bars, names, colours, lying=True) if bars else "",
        pushed=ResultTable(PUSHES, pushed),
        letters=_plot_letters(record.flips) if record.flips else "",
        orders=ResultTable(ORDERS, list(enumerate(record.flips.accuracy if record.flips else ()))),
        nones=[
            (f.left_out, _none_table(f.none_of_the_above))
            for f in record.findings
            if f.none_of_the_above
        ],
    )


def _none_table(found: NoneOfTheAbove) -> ResultTable[tuple[str, Proportion | None]]:
    rows = [
        ("accuracy where it is right", found.right),
        ("accuracy where it is wrong", found.wrong),
        ("chosen", found.chosen),
    ]
    return ResultTable(NONE_OF_THE_ABOVE, rows)


def _plot_letters(flipped: Flips) -> str:
    total = sum(flipped.letters.values())
    shares = {
        letter: [100 * flipped.letters.get(letter, 0) / total, 100 * recall.value]
        for letter, recall in flipped.recalls.items()
    }
    return plot_bars(shares, ["chosen", "recall: chosen where right"], SERIES_COLOURS)
