"""Draw figures as SVG text that is readable on light and dark pages, and save them for print."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from medtune.core.records import EvaluationRecord, LossPoint, Proportion
from medtune.core.run_folder import write_atomic, write_text

TEXT_COLOUR = "#64748b"
"""Colour of axes and text."""
BASE_COLOUR = "#c2570c"
"""Colour of the base model or reference: orange, which colour-blind readers tell from teal."""
TUNED_COLOUR = "#0d9488"
"""Colour of the tuned model or candidate: teal."""
BASELINE_COLOUR = TEXT_COLOUR
"""Colour of chance and majority baselines, the same as the text."""
MUTED_COLOUR = "#94a3b8"
"""Colour of secondary points: steps beside their running mean, models that miss a criterion."""
SERIES_COLOURS = ("#6366f1", "#db2777", "#65a30d", "#0284c7", "#a16207", "#7c3aed")
"""Colours of splits and other series that are not models; train first."""
_FIGURE = 6
"""Width of an accuracy printed beside its interval, in per cent of the axis."""
_LABEL_COLOURS = {"base": BASE_COLOUR, "tuned": TUNED_COLOUR}
_GROUP = re.compile(r'<g id="[^"]*"')
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
PRINT_DPI = 300
_PRINT_FORMATS: dict[str, dict[str, Any]] = {
    # Without dates and versions the same figure gives the same bytes.
    "pdf": {"metadata": {"Creator": None, "Producer": None, "CreationDate": None}},
    "png": {"metadata": {"Software": None}, "dpi": PRINT_DPI},
}
FIGURE_FORMATS = ("svg", *_PRINT_FORMATS)


class Drawing(str):
    """A drawn figure: its SVG text, and the matplotlib figure for other formats."""

    figure: Any

    def save(self, stem: Path) -> list[Path]:
        """Save the figure as `stem`.svg, .pdf and .png: black text on white, fonts embedded.

        Raises:
            FolderError: A file cannot be written.
        """
        import matplotlib
        from matplotlib.colors import same_color
        from matplotlib.text import Text

        paths = [stem.with_name(f"{stem.name}.{kind}") for kind in FIGURE_FORMATS]
        write_text(paths[0], f"{self}\n")
        for text in self.figure.findobj(Text):
            if same_color(text.get_color(), TEXT_COLOUR):
                text.set_color("black")
        self.figure.patch.set_alpha(1)
        # Journals refuse the Type 3 fonts that matplotlib embeds by default.
        with matplotlib.rc_context({"pdf.fonttype": 42}):
            for path, (kind, settings) in zip(paths[1:], _PRINT_FORMATS.items(), strict=True):
                save = partial(self.figure.savefig, format=kind, facecolor="white", **settings)
                write_atomic(path, save)
        return paths


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One accuracy with its baselines."""

    name: str
    accuracy: Proportion
    chance: float
    majority: float
    colour: str = TUNED_COLOUR
    mark: str = "o"
    search: float | None = None
    """Accuracy of the text search; None where none was made."""

    @property
    def baselines(self) -> dict[str, float]:
        """Accuracies of the baselines by name."""
        known = {"chance": self.chance, "majority letter": self.majority}
        return known if self.search is None else {**known, "text search": self.search}


def plot_accuracy(evaluations: Sequence[EvaluationRecord]) -> Drawing:
    """Draw the accuracies of evaluations."""
    return plot_accuracy_rows(
        [
            AccuracyRow(
                name=f"{e.data.source} · {e.method} · {e.label}",
                accuracy=e.accuracy,
                chance=e.chance,
                majority=e.majority.value,
                colour=_LABEL_COLOURS.get(e.label, TUNED_COLOUR),
                mark="s" if e.label == "base" else "o",
                search=e.search.accuracy.value if e.search is not None else None,
            )
            for e in evaluations
        ]
    )


def plot_accuracy_rows(rows: Sequence[AccuracyRow], width: float = 8.6) -> Drawing:
    """Draw accuracies with their 95 % intervals and baselines; width in inches."""
    figure, axes = create_axes(width, 0.36 * len(rows) + 0.9)
    for place, row in enumerate(rows):
        value = row.accuracy
        axes.plot([100 * value.low, 100 * value.high], [place, place], color=row.colour, lw=2.5)
        axes.plot(100 * value.value, place, row.mark, color=row.colour, ms=7)
        axes.plot(100 * row.chance, place, "|", color=BASELINE_COLOUR, ms=13, mew=2)
        axes.plot(100 * row.majority, place, "x", color=BASELINE_COLOUR, ms=6, mew=1.5)
        if row.search is not None:
            axes.plot(100 * row.search, place, "D", color=BASELINE_COLOUR, ms=6, mfc="none")
        axes.annotate(
            f"{100 * value.value:.1f}",
            (_clear(row), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=TEXT_COLOUR,
            fontsize=9,
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first on top, clear of the frame
    axes.set_xlim(0, 100)
    searched = ";  ◇ text search" if any(row.search is not None for row in rows) else ""
    axes.set_xlabel(f"accuracy, % (bar: Wilson 95 %;  | chance;  × majority letter{searched})")
    axes.grid(axis="x", color=TEXT_COLOUR, alpha=0.2)
    return render_svg(
        figure,
        "Accuracy in per cent. "
        + "; ".join(
            f"{row.name}: {describe_proportion(row.accuracy)}, "
            + ", ".join(f"{name} {100 * value:.1f}" for name, value in row.baselines.items())
            for row in rows
        ),
    )


def _clear(row: AccuracyRow) -> float:
    """Return where to print a row's accuracy, in per cent: past its interval and nearby marks."""
    end = 100 * row.accuracy.high
    for mark in sorted(100 * value for value in row.baselines.values()):
        if end <= mark < end + _FIGURE:
            end = mark
    return end


def plot_loss(runs: Sequence[Sequence[LossPoint]]) -> Drawing:
    """Draw the loss of every step and its running mean, for one training or several seeds."""
    figure, axes = create_axes(8.6, 2.6)
    for number, losses in enumerate(runs):
        steps = [point.step for point in losses]
        values = [point.loss for point in losses]
        smooth, mean = [], values[0]
        for value in values:
            mean = 0.9 * mean + 0.1 * value
            smooth.append(mean)
        names = ("step", "running mean (0.9)") if not number else (None, None)
        axes.plot(steps, values, color=MUTED_COLOUR, lw=1 / len(runs), label=names[0])
        axes.plot(steps, smooth, color=TUNED_COLOUR, lw=2 / len(runs) + 0.5, label=names[1])
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss, nats per answer token")
    axes.set_ylim(bottom=0)
    axes.grid(color=TEXT_COLOUR, alpha=0.2)
    axes.legend(frameon=False, labelcolor=TEXT_COLOUR)
    return render_svg(
        figure,
        "; ".join(
            f"Training loss of {len(losses)} steps, from {losses[0].loss:.2f} to "
            f"{losses[-1].loss:.2f} nats per answer token"
            for losses in runs
        )
        + ".",
    )


def plot_letters(
    evaluations: Sequence[EvaluationRecord], colours: Sequence[str] | None = None
) -> Drawing:
    """Draw how often each letter was given, and how often it was right.

    Args:
        evaluations: Evaluations of the same questions.
        colours: Colours of "right" and the evaluations; by default those of their labels.
    """
    first = evaluations[0]
    letters = sorted({*first.letters_right, *(c for e in evaluations for c in e.letters_chosen)})
    counts = [first.letters_right, *(e.letters_chosen for e in evaluations)]
    shares = {c: [100 * some.get(c, 0) / first.counts.n for some in counts] for c in letters}
    names = ["right", *(e.label for e in evaluations)]
    colours = colours or [
        BASELINE_COLOUR,
        *(_LABEL_COLOURS.get(e.label, TUNED_COLOUR) for e in evaluations),
    ]
    return plot_bars(shares, names, colours, xlabel="letter")


def plot_bars(
    shares: Mapping[str, Sequence[float]],
    names: Sequence[str],
    colours: Sequence[str] = SERIES_COLOURS,
    lying: bool = False,
    xlabel: str = "",
    width: float = 8.6,
    ylabel: str = "% of questions",
) -> Drawing:
    """Draw groups of bars side by side.

    Args:
        shares: Bars of each category, per cent of questions, `[series]`.
        names: Names of the series.
        colours: Colours of the series.
        lying: Draw horizontal bars, for long category names.
        xlabel: Label of the categories.
        width: Width of the figure, inches.
        ylabel: Label of the bars.
    """
    height = 0.11 * len(names) * len(shares) + 0.14 * len(shares) + 0.9 if lying else 2.6
    figure, axes = create_axes(width, height)
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
    axes.grid(axis="x" if lying else "y", color=TEXT_COLOUR, alpha=0.2)
    # The legend is above the bars, in one column for long names.
    add_legend(figure, len(names) if sum(map(len, names)) < 90 else 1)
    parts = [
        f"{category}: "
        + ", ".join(f"{name} {value:.1f}" for name, value in zip(names, values, strict=True))
        for category, values in shares.items()
    ]
    return render_svg(figure, f"Bars, {ylabel}. " + "; ".join(parts))


def describe_proportion(proportion: Proportion) -> str:
    """Describe a proportion for a screen reader, in per cent."""
    value, low, high = (100 * x for x in (proportion.value, proportion.low, proportion.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def create_axes(width: float, height: float) -> tuple[Any, Any]:
    """Create a figure with one pair of axes; width and height in inches."""
    figure = create_figure(width, height)
    axes = figure.subplots()
    style_axes(axes)
    return figure, axes


def create_figure(width: float, height: float) -> Any:
    """Create an empty figure; width and height in inches."""
    # The object-oriented interface: pyplot would keep every figure in a global list.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    return figure


def style_axes(axes: Any) -> None:
    """Style axes for light and dark pages."""
    axes.patch.set_alpha(0)
    axes.tick_params(colors=TEXT_COLOUR, labelsize=9)
    axes.xaxis.label.set_color(TEXT_COLOUR)
    axes.yaxis.label.set_color(TEXT_COLOUR)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(TEXT_COLOUR)


def add_legend(figure: Any, ncols: int, loc: str = "outside upper right") -> None:
    """Add a legend above a figure."""
    figure.legend(frameon=False, labelcolor=TEXT_COLOUR, fontsize=9, ncols=ncols, loc=loc)


def draw_baselines(draw_line: Any, chance: float, majority: float) -> None:
    """Draw chance and the majority letter with `axes.axhline` or `axes.axvline`."""
    draw_line(100 * chance, color=BASELINE_COLOUR, lw=1.2, ls="--", label="chance")
    draw_line(100 * majority, color=BASELINE_COLOUR, lw=1.2, ls=":", label="majority letter")


def render_svg(figure: Any, label: str = "") -> Drawing:
    """Render a figure as SVG; `label` describes it for a screen reader."""
    import matplotlib
    from matplotlib.text import Text

    # Labels are shown verbatim: a dollar sign starts no formula.
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    out = io.StringIO()
    # Without a date and with a fixed salt the same record gives the same bytes.  The salt includes
    # the label, as the ids of several figures on a page must differ.
    with matplotlib.rc_context(
        {
            "svg.hashsalt": f"medtune {label}",
            "svg.fonttype": "none",
            "text.parse_math": False,
        }
    ):
        # Laid out here: savefig would draw the whole figure once more to do it.
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine(None)
        figure.savefig(out, format="svg", metadata={"Date": None})
    drawn = out.getvalue()
    # Group ids would repeat between figures, and nothing refers to them.
    drawn = _GROUP.sub("<g", _METADATA.sub("", drawn[drawn.index("<svg") :]))
    named = f' role="img" aria-label="{escape(label)}"' if label else ""
    rendered = Drawing(drawn.replace("<svg", f"<svg{named}", 1))
    rendered.figure = figure
    return rendered
