"""Draw the README's picture from the committed quickstart; `make docs` runs it."""

from __future__ import annotations

from pathlib import Path

import tables

from medtune.reports.figures import (
    BASE_COLOUR,
    TUNED_COLOUR,
    AccuracyRow,
    plot_accuracy_rows,
)

PICTURE = Path(__file__).with_name("quickstart.svg")


def picture() -> str:
    """Draw the accuracies of base and tuned model by the primary method, as SVG."""
    rows = []
    for base, tuned, _ in tables.primary_results():
        asked = tables.ASKED[base.data.source].partition(",")[0]
        for one, name, colour, mark in (
            (base, "base model", BASE_COLOUR, "s"),
            (tuned, "fine-tuned", TUNED_COLOUR, "o"),
        ):
            assert one.search is not None, "the quickstart searches its training questions"
            searched = one.search.accuracy.value
            chance, majority = one.chance, one.majority.value
            name = f"{asked}, {name}"
            rows.append(AccuracyRow(name, one.accuracy, chance, majority, colour, mark, searched))
    drawn: str = plot_accuracy_rows(rows, width=7.0)
    if "xmlns=" not in drawn:
        drawn = drawn.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return drawn + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
