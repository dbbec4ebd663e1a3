"""Draw the README's picture from the committed quickstart; `make docs` runs it."""

from __future__ import annotations

from pathlib import Path

import tables

from medtune.reports.figures import plot_accuracy

PICTURE = Path(__file__).with_name("quickstart.svg")


def picture() -> str:
    """Draw the accuracies of base and tuned model, as SVG."""
    drawn = plot_accuracy([e for pair in tables.quickstart().evaluations_by_exam() for e in pair])
    if "xmlns=" not in drawn:
        drawn = drawn.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return drawn + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
