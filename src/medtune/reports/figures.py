"""Figures as SVG text, drawn so that they read on light and dark pages."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from medtune.core.records import EvaluationRecord, LossPoint, Proportion

INK = "#64748b"
"""Axes and words."""
BASE = "#c2570c"
"""Of the base model, or the reference: orange, which the colour-blind tell from the next one."""
TUNED = "#0d9488"
"""Of the tuned model, or the candidate: teal."""
CHANCE = INK
"""Of what needs no knowledge: it is part of the page, not a model."""
MUTED = "#94a3b8"
"""Of what stands back: steps behind their mean, points that others beat."""
SPLITS = ("#6366f1", "#db2777", "#65a30d", "#0284c7", "#a16207", "#7c3aed")
"""Of several splits, or other things that are no model; train first."""
_FIGURE = 6
"""Room that a figure takes beside its interval, in per cent."""
_COLOURS = {"base": BASE, "tuned": TUNED}
_GROUP = re.compile(r'<g id="[^"]*"')
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One accuracy beside what needs no knowledge."""

    name: str
    accuracy: Proportion
    chance: float
    majority: float
    colour: str = TUNED
    mark: str = "o"


def accuracy_figure(evaluations: Sequence[EvaluationRecord]) -> str:
    """Draw the accuracies of examinations."""
    return accuracy_rows_figure(
        [
            AccuracyRow(
                name=f"{e.data.source} · {e.method} · {e.label}",
                accuracy=e.accuracy,
                chance=e.chance,
                majority=e.majority.value,
                colour=_COLOURS.get(e.label, TUNED),
                mark="s" if e.label == "base" else "o",
            )
            for e in evaluations
        ]
    )


def accuracy_rows_figure(rows: Sequence[AccuracyRow]) -> str:
    """Draw accuracies with their 95 % intervals, chance and the majority letter beside them."""
    figure, axes = canvas(8.6, 0.36 * len(rows) + 0.9)
    for place, row in enumerate(rows):
        value = row.accuracy
        axes.plot([100 * value.low, 100 * value.high], [place, place], color=row.colour, lw=2.5)
        axes.plot(100 * value.value, place, row.mark, color=row.colour, ms=7)
        axes.plot(100 * row.chance, place, "|", color=CHANCE, ms=13, mew=2)
        axes.plot(100 * row.majority, place, "x", color=CHANCE, ms=6, mew=1.5)
        axes.annotate(
            f"{100 * value.value:.1f}",
            (_clear(row), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=9,
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, % (bar: Wilson 95 %;  | chance;  × majority letter)")
    axes.grid(axis="x", color=INK, alpha=0.2)
    return svg(
        figure,
        "Accuracy in per cent. "
        + "; ".join(
            f"{row.name}: {spoken(row.accuracy)}, chance {100 * row.chance:.1f}, "
            f"majority letter {100 * row.majority:.1f}"
            for row in rows
        ),
    )


def _clear(row: AccuracyRow) -> float:
    """Place a row's figure, in per cent, behind its interval and the marks that would cover it."""
    end = 100 * row.accuracy.high
    for mark in sorted((100 * row.chance, 100 * row.majority)):
        if end <= mark < end + _FIGURE:
            end = mark
    return end


def loss_figure(runs: Sequence[Sequence[LossPoint]]) -> str:
    """Draw the loss of every step and its running mean, of one training or of several seeds."""
    figure, axes = canvas(8.6, 2.6)
    for number, losses in enumerate(runs):
        steps = [point.step for point in losses]
        values = [point.loss for point in losses]
        smooth, mean = [], values[0]
        for value in values:
            mean = 0.9 * mean + 0.1 * value
            smooth.append(mean)
        names = ("step", "running mean (0.9)") if not number else (None, None)
        axes.plot(steps, values, color=MUTED, lw=1 / len(runs), label=names[0])
        axes.plot(steps, smooth, color=TUNED, lw=2 / len(runs) + 0.5, label=names[1])
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss, nats per answer token")
    axes.set_ylim(bottom=0)
    axes.grid(color=INK, alpha=0.2)
    axes.legend(frameon=False, labelcolor=INK)
    return svg(
        figure,
        "; ".join(
            f"Training loss of {len(losses)} steps, from {losses[0].loss:.2f} to "
            f"{losses[-1].loss:.2f} nats per answer token"
            for losses in runs
        )
        + ".",
    )


def letters_figure(
    evaluations: Sequence[EvaluationRecord], colours: Sequence[str] | None = None
) -> str:
    """Draw how often each letter was given, beside how often it was right.

    Args:
        evaluations: On the same questions.
        colours: Of "right" and the evaluations; by default their labels' own.
    """
    first = evaluations[0]
    letters = sorted({*first.letters_right, *(c for e in evaluations for c in e.letters_chosen)})
    counts = [first.letters_right, *(e.letters_chosen for e in evaluations)]
    shares = {c: [100 * some.get(c, 0) / first.counts.n for some in counts] for c in letters}
    names = ["right", *(e.label for e in evaluations)]
    colours = colours or [CHANCE, *(_COLOURS.get(e.label, TUNED) for e in evaluations)]
    return bars_figure(shares, names, colours, xlabel="letter")


def bars_figure(
    shares: Mapping[str, Sequence[float]],
    names: Sequence[str],
    colours: Sequence[str] = SPLITS,
    lying: bool = False,
    xlabel: str = "",
    width: float = 8.6,
    ylabel: str = "% of questions",
) -> str:
    """Draw groups of bars side by side.

    Args:
        shares: Per category its bars, per cent of questions, `[series]`.
        names: Of the series.
        colours: Of the series.
        lying: Horizontal bars, for long names of categories.
        xlabel: What the categories are.
        width: Of the figure, inches.
        ylabel: What the bars are.
    """
    height = 0.11 * len(names) * len(shares) + 0.14 * len(shares) + 0.9 if lying else 2.6
    figure, axes = canvas(width, height)
    thick = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [i + (number - (len(names) - 1) / 2) * thick for i in range(len(shares))]
        values = [some[number] for some in shares.values()]
        draw = axes.barh if lying else axes.bar
        draw(places, values, thick * 0.92, color=colours[number % len(colours)], label=name)
    if lying:
        axes.set_yticks(range(len(shares)), list(shares))
        axes.invert_yaxis()
        axes.set_ylim(len(shares) - 0.4, -0.6)
    else:
        axes.set_xticks(range(len(shares)), list(shares), fontsize=9 if len(shares) < 9 else 7.5)
        axes.set_xlabel(xlabel)
    (axes.set_xlabel if lying else axes.set_ylabel)(ylabel)
    axes.grid(axis="x" if lying else "y", color=INK, alpha=0.2)
    # Above the bars, where no name is too long: one column for long names.
    figure.legend(
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        ncols=len(names) if sum(map(len, names)) < 90 else 1,
        loc="outside upper right",
    )
    parts = [
        f"{category}: "
        + ", ".join(f"{name} {value:.1f}" for name, value in zip(names, values, strict=True))
        for category, values in shares.items()
    ]
    return svg(figure, f"Bars, {ylabel}. " + "; ".join(parts))


def spoken(proportion: Proportion) -> str:
    """Write a proportion for a screen reader, in per cent."""
    value, low, high = (100 * x for x in (proportion.value, proportion.low, proportion.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """Open a figure with one pair of axes; width and height in inches."""
    figure = blank(width, height)
    axes = figure.subplots()
    dress(axes)
    return figure, axes


def blank(width: float, height: float) -> Any:
    """Open an empty figure; width and height in inches."""
    # The object interface: pyplot would keep every figure in a global list.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    return figure


def dress(axes: Any) -> None:
    """Give axes the look that reads on light and on dark pages."""
    axes.patch.set_alpha(0)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def svg(figure: Any, label: str = "") -> str:
    """Draw a figure; `label` says to a screen reader what is to be seen."""
    import matplotlib
    from matplotlib.text import Text

    # Names are shown as they are: a dollar sign begins no mathematics.
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    out = io.StringIO()
    # No date and a fixed salt: the same record draws the same bytes.  The label makes the salt
    # another one for each figure, for the ids of a page must differ.
    with matplotlib.rc_context(
        {
            "svg.hashsalt": f"medtune {label}",
            "svg.fonttype": "none",
            "text.parse_math": False,
        }
    ):
        figure.savefig(out, format="svg", metadata={"Date": None})
    drawn = out.getvalue()
    # Groups are numbered anew in every figure, and nothing refers to them.
    drawn = _GROUP.sub("<g", _METADATA.sub("", drawn[drawn.index("<svg") :]))
    named = f' role="img" aria-label="{escape(label)}"' if label else ""
    return drawn.replace("<svg", f"<svg{named}", 1)
