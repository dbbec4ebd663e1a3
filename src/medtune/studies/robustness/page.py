"""Render the page of the robustness study: verdict, figures, tables."""

from __future__ import annotations

from medtune.core.schemas.analysis import Flips
from medtune.reports.figures import (
    MUTED_COLOUR,
    SERIES_COLOURS,
    AccuracyRow,
    plot_accuracy_rows,
    plot_bars,
)
from medtune.reports.templating import render_page
from medtune.studies.robustness.schema import VARIANT_TITLES, RobustnessRecord


def render(record: RobustnessRecord) -> str:
    """Render the page.

    The figure of accuracies has the options in the given order for every variant: a mean over
    orders next to single orders would suggest a loss that does not exist.
    """
    rows = [
        AccuracyRow(VARIANT_TITLES[f.variant], f.accuracy, f.chance, f.majority.value)
        for f in record.findings
    ]
    pushes = {
        VARIANT_TITLES[f.variant]: [100 * f.push.before.value, 100 * f.push.followed.value]
        for f in record.findings
        if f.push
    }
    names = ["option chosen without the push", "with it"]
    colours = [MUTED_COLOUR, SERIES_COLOURS[0]]
    return render_page(
        "studies/robustness.html",
        study=record,
        asked=VARIANT_TITLES,
        accuracy=plot_accuracy_rows(rows),
        pushes=plot_bars(pushes, names, colours, lying=True) if pushes else "",
        letters=_plot_letters(record.flips) if record.flips else "",
    )


def _plot_letters(flipped: Flips) -> str:
    total = sum(flipped.letters.values())
    shares = {
        letter: [100 * flipped.letters.get(letter, 0) / total, 100 * recall.value]
        for letter, recall in flipped.recalls.items()
    }
    return plot_bars(shares, ["chosen", "recall: chosen where right"], SERIES_COLOURS)
