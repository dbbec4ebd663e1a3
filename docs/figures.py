"""Draw the README's picture from the committed quickstart; `make docs` runs it."""

from __future__ import annotations

from pathlib import Path

import tables

from medtune.reports.figures import plot_accuracy

PICTURE = Path(__file__).with_name("quickstart.svg")


def picture() -> str:
    """Draw the accuracies of base and tuned model by the primary method, as SVG."""
    pairs = tables.quickstart().evaluations_by_exam()
    drawn = plot_accuracy([e for pair in pairs for e in pair if e.method == "cloze"])
    if "xmlns=" not in drawn:
        drawn = drawn.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return drawn + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
