"""Accuracies of one model or two beside baselines, and slice by slice, as figures.

Colour is never the only difference between two models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.records import EvaluationRecord, Proportion
from medtune.core.schemas.analysis import PairedSlice
from medtune.reports.figures import BASE, INK, TUNED, blank, canvas, dress, spoken, svg

COLOURS = (BASE, TUNED)
"""Of the reference and the candidate."""
WIDE, FIRST, HALF = 8.6, 5.8, 4.2
"""Inches.  The first figure of a page must be read without scrolling on a telephone, too."""
LONGEST_NAME = 34


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One line of a forest plot."""

    name: str
    accuracies: tuple[Proportion, ...]
    """`[model]`, on the same n questions."""
    shift: PairedSlice | None = None


def baselines_figure(evaluations: Sequence[EvaluationRecord]) -> str:
    """Draw accuracies with their 95 % intervals, and under them all that needs no knowledge."""
    first = evaluations[0]
    rows: list[tuple[str, Proportion | float, str, str]] = [
        (look.name, e.accuracy, look.colour, look.mark)
        for e, look in reversed(
            list(zip(evaluations, looks([e.label for e in evaluations]), strict=True))
        )
    ]
    rows += [
        (f"{e.label}, options only", e.options_only, INK, "D")
        for e in reversed(evaluations)
        if e.options_only is not None
    ]
    rows.append((f"always {first.majority_letter}", first.majority, INK, "x"))
    rows.append(("chance", first.chance, INK, "|"))
    figure, axes = canvas(FIRST, 0.36 * len(rows) + 0.75)
    said = []
    for place, (name, value, colour, mark) in enumerate(rows):
        if isinstance(value, Proportion):
            _interval(axes, value, place, colour, mark, large=place < len(evaluations))
            middle, end, text = value.value, value.high, spoken(value)
        else:
            axes.plot(100 * value, place, mark, color=colour, ms=12, mew=2)
            middle = end = value
            text = f"{100 * value:.1f}"
        axes.annotate(
            f"{100 * middle:.1f}",
            (100 * end, place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=11 if place < len(evaluations) else 10,
        )
        said.append(f"{name}: {text}")
    # The two that every accuracy must be held against, through all lines.
    for level in (first.chance, first.majority.value):
        axes.axvline(100 * level, color=INK, lw=0.8, ls=":", zorder=0)
    axes.set_yticks(range(len(rows)), [shortened(name) for name, *_ in rows], fontsize=10)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    top = max(value.high if isinstance(value, Proportion) else value for _, value, *_ in rows)
    axes.set_xlim(0, axis_end(top))
    axes.set_xlabel("accuracy, % (bar: Wilson 95 %)")
    axes.grid(axis="x", color=INK, alpha=0.15)
    return svg(figure, "Accuracy in per cent with 95 % intervals. " + "; ".join(said))


def forest_figure(rows: Sequence[ForestRow], names: Sequence[str]) -> str:
    """Draw accuracies slice by slice, and beside them the paired differences.

    Args:
        rows: From top to bottom; all with a shift, or none.
        names: Of the models.
    """
    shifted = [row.shift for row in rows if row.shift is not None]
    figure = blank(WIDE, (0.3 if len(names) > 1 else 0.26) * len(rows) + 1.15)
    if shifted:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1])
        _differences(right, shifted)
    else:
        left = figure.subplots()
    dress(left)
    for number, look in enumerate(looks(names)):
        step = 0.34 * (number - (len(names) - 1) / 2)
        for place, row in enumerate(rows):
            _interval(left, row.accuracies[number], place + step, look.colour, look.mark)
        left.plot([], [], look.mark, color=look.colour, ms=6, label=shortened(look.name))
    edge = left.get_yaxis_transform()
    for place, row in enumerate(rows):
        for axes in figure.axes:
            axes.axhline(place, color=INK, alpha=0.15, lw=0.6, zorder=0)
        count = f"{row.accuracies[0].n:,}"
        style = {"color": INK, "fontsize": 8.5, "ha": "right", "va": "center"}
        left.text(1.09, place, count, transform=edge, **style)
    left.text(1.09, -0.85, "n", transform=edge, color=INK, fontsize=9, ha="right", va="center")
    left.set_yticks(range(len(rows)), [shortened(row.name) for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    top = max(p.high for row in rows for p in row.accuracies)
    left.set_xlim(0, axis_end(top))
    left.set_xlabel("accuracy, %")
    left.grid(axis="x", color=INK, alpha=0.15)
    if len(names) > 1:
        legend(figure)
    said = []
    for row in rows:
        each = zip(names, row.accuracies, strict=True)
        said.append(f"{row.name}: " + ", ".join(f"{name} {spoken(p)}" for name, p in each))
    return svg(figure, "Accuracy by slice, per cent with 95 % intervals. " + "; ".join(said))


@dataclass(frozen=True, slots=True)
class ModelStyle:
    """How a model is drawn."""

    name: str
    colour: str
    mark: str
    line: str


def looks(names: Sequence[str]) -> list[ModelStyle]:
    """Give each model its look; one alone has the candidate's."""
    looks = zip(
        names, COLOURS[-len(names) :], "so"[-len(names) :], ("--", "-")[-len(names) :], strict=True
    )
    return [ModelStyle(name, colour, mark, line) for name, colour, mark, line in looks]


def _interval(
    axes: Any, value: Proportion, place: float, colour: str, mark: str, large: bool = False
) -> None:
    """Draw a proportion lying: its interval as a bar, itself as a mark."""
    width, size = (2.8, 8.0) if large else (1.6, 4.5)
    axes.plot([100 * value.low, 100 * value.high], [place, place], color=colour, lw=width)
    axes.plot(100 * value.value, place, mark, color=colour, ms=size, mew=1.5)


def _differences(axes: Any, shifts: Sequence[PairedSlice]) -> None:
    """Draw paired differences; filled where Holm's p is below 0.05."""
    dress(axes)
    axes.axvline(0, color=INK, lw=1)
    reach = 0.0
    for place, shift in enumerate(shifts):
        low, value, high = (
            100 * x for x in (shift.difference_low, shift.difference, shift.difference_high)
        )
        reach = max(reach, abs(low), abs(high))
        shown = shift.p_holm is not None and shift.p_holm < 0.05
        colour = COLOURS[value > 0] if shown else INK
        axes.plot([low, high], [place, place], color=colour, lw=2.2 if shown else 1.2)
        axes.plot(
            value, place, "D" if shown else "|", color=colour, ms=5.5 if shown else 8, mew=1.5
        )
    axes.set_xlim(-1.05 * reach, 1.05 * reach)
    axes.tick_params(labelleft=False, left=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("difference, points")
    axes.grid(axis="x", color=INK, alpha=0.15)


def legend(figure: Any) -> None:
    """Name the models above a figure."""
    figure.legend(frameon=False, labelcolor=INK, fontsize=9, ncols=2, loc="outside upper left")


def shortened(name: str) -> str:
    """Cut a name that would leave no room for the figure."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def axis_end(share: float) -> float:
    """Round the end of an axis up to the next ten per cent that leaves room for a label."""
    return min(100.0, 10 * math.ceil((100 * share + 4) / 10))
