"""Draw accuracies of one model or two with baselines, and by slice.

Colour is never the only difference between two models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.records import EvaluationRecord, Proportion
from medtune.core.schemas.analysis import PairedSlice
from medtune.reports.figures import (
    BASE_COLOUR,
    TEXT_COLOUR,
    TUNED_COLOUR,
    Drawing,
    add_legend,
    create_axes,
    create_figure,
    describe_proportion,
    render_svg,
    style_axes,
)

MODEL_COLOURS = (BASE_COLOUR, TUNED_COLOUR)
"""Colours of the reference and the candidate."""
WIDE, FIRST, HALF = 8.6, 5.8, 4.2
"""Widths, inches.  The first figure of a page must fit on a phone without scrolling."""
MAX_LABEL_CHARACTERS = 34


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One line of a forest plot."""

    name: str
    accuracies: tuple[Proportion, ...]
    """`[model]`, on the same n questions."""
    shift: PairedSlice | None = None


def plot_baselines(evaluations: Sequence[EvaluationRecord]) -> Drawing:
    """Draw accuracies with their 95 % intervals, and the baselines below them."""
    first = evaluations[0]
    rows: list[tuple[str, Proportion | float, str, str]] = [
        (look.name, e.accuracy, look.colour, look.mark)
        for e, look in reversed(
            list(zip(evaluations, assign_model_styles([e.label for e in evaluations]), strict=True))
        )
    ]
    rows += [
        (f"{e.label}, options only", e.options_only, TEXT_COLOUR, "D")
        for e in reversed(evaluations)
        if e.options_only is not None
    ]
    rows += [
        (f"{e.label}, less similar", e.open_book.less_similar, TEXT_COLOUR, "v")
        for e in reversed(evaluations)
        if e.open_book is not None and e.open_book.less_similar is not None
    ]
    searches = {e.search.fingerprint: e.search.accuracy for e in evaluations if e.search}
    rows += [("text search", accuracy, TEXT_COLOUR, "^") for accuracy in searches.values()]
    rows.append((f"always {first.majority_letter}", first.majority, TEXT_COLOUR, "x"))
    rows.append(("chance", first.chance, TEXT_COLOUR, "|"))
    figure, axes = create_axes(FIRST, 0.36 * len(rows) + 0.75)
    said = []
    for place, (name, value, colour, mark) in enumerate(rows):
        if isinstance(value, Proportion):
            _draw_interval(axes, value, place, colour, mark, large=place < len(evaluations))
            middle, end, text = value.value, value.high, describe_proportion(value)
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
            color=TEXT_COLOUR,
            fontsize=11 if place < len(evaluations) else 10,
        )
        said.append(f"{name}: {text}")
    # Chance and majority letter are drawn as lines through all rows.
    for level in (first.chance, first.majority.value):
        axes.axvline(100 * level, color=TEXT_COLOUR, lw=0.8, ls=":", zorder=0)
    axes.set_yticks(range(len(rows)), [shorten_label(name) for name, *_ in rows], fontsize=10)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    top = max(value.high if isinstance(value, Proportion) else value for _, value, *_ in rows)
    axes.set_xlim(0, compute_axis_end(top))
    axes.set_xlabel("accuracy, % (bar: Wilson 95 %)")
    axes.grid(axis="x", color=TEXT_COLOUR, alpha=0.15)
    return render_svg(figure, "Accuracy in per cent with 95 % intervals. " + "; ".join(said))


def plot_forest(rows: Sequence[ForestRow], names: Sequence[str]) -> Drawing:
    """Draw a forest plot of accuracies by slice, with the paired differences beside it.

    Args:
        rows: Rows from top to bottom; all with a shift, or none.
        names: Names of the models.
    """
    shifted = [row.shift for row in rows if row.shift is not None]
    figure = create_figure(WIDE, (0.3 if len(names) > 1 else 0.26) * len(rows) + 1.15)
    if shifted:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1])
        _draw_differences(right, shifted)
    else:
        left = figure.subplots()
    style_axes(left)
    for number, look in enumerate(assign_model_styles(names)):
        step = 0.34 * (number - (len(names) - 1) / 2)
        for place, row in enumerate(rows):
            _draw_interval(left, row.accuracies[number], place + step, look.colour, look.mark)
        left.plot([], [], look.mark, color=look.colour, ms=6, label=shorten_label(look.name))
    edge = left.get_yaxis_transform()
    for place, row in enumerate(rows):
        for axes in figure.axes:
            axes.axhline(place, color=TEXT_COLOUR, alpha=0.15, lw=0.6, zorder=0)
        count = f"{row.accuracies[0].n:,}"
        style = {"color": TEXT_COLOUR, "fontsize": 8.5, "ha": "right", "va": "center"}
        left.text(1.09, place, count, transform=edge, **style)
    left.text(
        1.09, -0.85, "n", transform=edge, color=TEXT_COLOUR, fontsize=9, ha="right", va="center"
    )
    left.set_yticks(range(len(rows)), [shorten_label(row.name) for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    top = max(p.high for row in rows for p in row.accuracies)
    left.set_xlim(0, compute_axis_end(top))
    left.set_xlabel("accuracy, %")
    left.grid(axis="x", color=TEXT_COLOUR, alpha=0.15)
    if len(names) > 1:
        add_model_legend(figure)
    said = []
    for row in rows:
        each = zip(names, row.accuracies, strict=True)
        said.append(
            f"{row.name}: " + ", ".join(f"{name} {describe_proportion(p)}" for name, p in each)
        )
    return render_svg(figure, "Accuracy by slice, per cent with 95 % intervals. " + "; ".join(said))


@dataclass(frozen=True, slots=True)
class ModelStyle:
    """Colour, mark and line of a model."""

    name: str
    colour: str
    mark: str
    line: str


def assign_model_styles(names: Sequence[str]) -> list[ModelStyle]:
    """Return the style of each model; a single model has the candidate's."""
    looks = zip(
        names,
        MODEL_COLOURS[-len(names) :],
        "so"[-len(names) :],
        ("--", "-")[-len(names) :],
        strict=True,
    )
    return [ModelStyle(name, colour, mark, line) for name, colour, mark, line in looks]


def _draw_interval(
    axes: Any, value: Proportion, place: float, colour: str, mark: str, large: bool = False
) -> None:
    """Draw a proportion as a mark with a horizontal interval bar."""
    width, size = (2.8, 8.0) if large else (1.6, 4.5)
    axes.plot([100 * value.low, 100 * value.high], [place, place], color=colour, lw=width)
    # Marks at 0 and 100 % are drawn whole.
    axes.plot(100 * value.value, place, mark, color=colour, ms=size, mew=1.5, clip_on=False)


def _draw_differences(axes: Any, shifts: Sequence[PairedSlice]) -> None:
    """Draw paired differences; marks are filled if Holm's p is below 0.05."""
    style_axes(axes)
    axes.axvline(0, color=TEXT_COLOUR, lw=1)
    reach = 0.0
    for place, shift in enumerate(shifts):
        low, value, high = (
            100 * x for x in (shift.difference_low, shift.difference, shift.difference_high)
        )
        reach = max(reach, abs(low), abs(high))
        shown = shift.p_holm is not None and shift.p_holm < 0.05
        colour = MODEL_COLOURS[value > 0] if shown else TEXT_COLOUR
        axes.plot([low, high], [place, place], color=colour, lw=2.2 if shown else 1.2)
        axes.plot(
            value, place, "D" if shown else "|", color=colour, ms=5.5 if shown else 8, mew=1.5
        )
    axes.set_xlim(-1.05 * reach, 1.05 * reach)
    axes.tick_params(labelleft=False, left=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("difference, points")
    axes.grid(axis="x", color=TEXT_COLOUR, alpha=0.15)


def add_model_legend(figure: Any) -> None:
    """Add a legend of the models above a figure."""
    add_legend(figure, 2, "outside upper left")


def shorten_label(name: str) -> str:
    """Shorten a long label to leave room for the figure."""
    return name if len(name) <= MAX_LABEL_CHARACTERS else name[: MAX_LABEL_CHARACTERS - 1] + "…"


def compute_axis_end(share: float) -> float:
    """Return the end of an axis: the next ten per cent that leaves room for a label."""
    return min(100.0, 10 * math.ceil((100 * share + 4) / 10))
