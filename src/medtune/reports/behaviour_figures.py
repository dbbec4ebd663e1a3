"""Draw figures of calibration, risk, similarity and option order, for one model or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtune.core.records import Proportion
from medtune.core.schemas.analysis import CalibrationReport, Flips, RiskCurve, SimilarityReport
from medtune.reports.comparison_figures import (
    HALF,
    ModelStyle,
    add_model_legend,
    assign_model_styles,
    compute_axis_end,
    shorten_label,
)
from medtune.reports.figures import (
    TEXT_COLOUR,
    Drawing,
    create_axes,
    describe_proportion,
    plot_bars,
    render_svg,
)


def plot_reliability(
    calibrations: Sequence[CalibrationReport | None], names: Sequence[str]
) -> Drawing:
    """Draw a reliability diagram: accuracy against mean confidence, by bin.

    Args:
        calibrations: `[model]`; a model with None is not drawn.
        names: Names of the models.
    """
    figure, axes = create_axes(HALF, 4.1)
    axes.plot([0, 100], [0, 100], color=TEXT_COLOUR, lw=1, ls=":")
    said = []
    for found, look in zip(calibrations, assign_model_styles(names), strict=True):
        if found is None:
            continue
        x = [100 * b.confidence for b in found.bins]
        _draw_marked_line(axes, x, [b.accuracy for b in found.bins], look)
        said.append(f"{look.name} {100 * found.error:.1f}")
    for limits in (axes.set_xlim, axes.set_ylim):
        limits(0, 100)
    axes.set_box_aspect(1)
    axes.set_xlabel("mean confidence, %")
    axes.set_ylabel("right, %")
    axes.grid(color=TEXT_COLOUR, alpha=0.15)
    add_model_legend(figure)
    return render_svg(
        figure,
        "Reliability diagram: share right against mean confidence, in bins of equal size. "
        "Calibration error in per cent: " + ", ".join(said),
    )


def plot_risk_coverage(curves: Sequence[RiskCurve | None], names: Sequence[str]) -> Drawing:
    """Draw risk-coverage curves, with the best possible curve of each model.

    Args:
        curves: `[model]`; None for a model without a curve.
        names: Names of the models.
    """
    figure, axes = create_axes(HALF, 4.1)
    top = 0.0
    said = []
    for curve, look in zip(curves, assign_model_styles(names), strict=True):
        if curve is None:
            continue
        coverage, risk = [100 * c for c in curve.coverage], [100 * r for r in curve.risk]
        axes.plot(
            coverage, risk, look.line, color=look.colour, lw=1.8, label=shorten_label(look.name)
        )
        # At full coverage the risk is the error rate; the best order puts all errors last.
        right = 1 - curve.risk[-1]
        best = [100 * max(0.0, 1 - right / (share / 100)) for share in range(1, 101)]
        axes.plot(range(1, 101), best, ":", color=look.colour, lw=1.2)
        # The first few questions may all be right or wrong by chance: they do not set the scale.
        top = max(top, *(r for c, r in zip(curve.coverage, curve.risk, strict=True) if c >= 0.05))
        said.append(f"{look.name} {100 * curve.area:.1f}, at best {100 * curve.best:.1f}")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, compute_axis_end(top))
    axes.set_box_aspect(1)
    axes.set_xlabel("questions answered, surest first, %")
    axes.set_ylabel("wrong among these, %")
    axes.grid(color=TEXT_COLOUR, alpha=0.15)
    add_model_legend(figure)
    return render_svg(
        figure, "Risk against coverage. Mean risk over all coverages, per cent: " + "; ".join(said)
    )


def plot_similarity(found: Sequence[SimilarityReport | None], names: Sequence[str]) -> Drawing:
    """Draw the accuracy by similarity to the nearest passage, and without the most similar tenth.

    Args:
        found: `[model]`; a model with None is not drawn.
        names: Names of the models.
    """
    figure, axes = create_axes(HALF, 3.2)
    said = []
    drawn = [
        (report, look)
        for report, look in zip(found, assign_model_styles(names), strict=True)
        if report is not None
    ]
    for report, look in drawn:
        values = [part.accuracy for part in report.bins]
        _draw_marked_line(axes, [100 * part.mean for part in report.bins], values, look)
        text = f"{look.name}: " + ", ".join(map(describe_proportion, values))
        if report.less_similar is not None:
            rest = report.less_similar
            axes.axhline(100 * rest.value, color=look.colour, lw=1.2, ls=":", zorder=0)
            text += f"; without the most similar tenth {describe_proportion(rest)}"
        said.append(text)
    parts = [part for report, _ in drawn for part in report.bins]
    axes.set_xlim(0, compute_axis_end(max(part.mean for part in parts)))
    axes.set_ylim(0, compute_axis_end(max(part.accuracy.high for part in parts)))
    axes.set_xlabel("words shared with the nearest passage, % (mean of a bin)")
    axes.set_ylabel("right, %")
    axes.grid(color=TEXT_COLOUR, alpha=0.15)
    add_model_legend(figure)
    return render_svg(
        figure,
        "Accuracy by similarity to the nearest passage, per cent, the least similar questions "
        "first. " + "; ".join(said),
    )


def plot_rotations(found: Sequence[Flips | None], names: Sequence[str]) -> Drawing:
    """Draw the accuracy by rotation of the options: shifted by 0, 1, ... positions.

    Args:
        found: `[model]`; None for a model that was asked in one order only.
        names: Names of the models.
    """
    figure, axes = create_axes(HALF, 2.6)
    drawn = [flips for flips in found if flips is not None]
    longest = max(len(flips.accuracy) for flips in drawn)
    said = []
    for number, (flips, look) in enumerate(zip(found, assign_model_styles(names), strict=True)):
        if flips is None:
            continue
        step = 0.12 * (number - (len(names) - 1) / 2)
        x = [place + step for place in range(len(flips.accuracy))]
        _draw_marked_line(axes, x, flips.accuracy, look)
        said.append(f"{look.name}: " + ", ".join(describe_proportion(p) for p in flips.accuracy))
    axes.set_xticks(range(longest))
    axes.set_xlim(-0.5, longest - 0.5)
    axes.set_ylim(0, compute_axis_end(max(p.high for flips in drawn for p in flips.accuracy)))
    axes.set_xlabel("options shifted by")
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", color=TEXT_COLOUR, alpha=0.15)
    add_model_legend(figure)
    return render_svg(figure, "Accuracy by rotation of the options, per cent. " + "; ".join(said))


def plot_letters_over_orders(found: Sequence[Flips | None], names: Sequence[str]) -> Drawing:
    """Draw how often each letter was chosen over all orders, and how often it was right.

    Args:
        found: `[model]`; None for a model that was asked in one order only.
        names: Names of the models.
    """
    drawn = [
        (f, look)
        for f, look in zip(found, assign_model_styles(names), strict=True)
        if f is not None
    ]
    right = {letter: p.n for letter, p in drawn[0][0].recalls.items()}
    counts = [right, *(flips.letters for flips, _ in drawn)]
    letters = sorted({letter for some in counts for letter in some})
    return plot_bars(
        {c: [100 * some.get(c, 0) / sum(some.values()) for some in counts] for c in letters},
        ["right", *(shorten_label(look.name) for _, look in drawn)],
        [TEXT_COLOUR, *(look.colour for _, look in drawn)],
        xlabel="letter, over all orders",
        width=HALF,
        ylabel="%",
    )


def _draw_marked_line(
    axes: Any, x: Sequence[float], values: Sequence[Proportion], look: ModelStyle
) -> None:
    """Draw a model's proportions as a line with marks and vertical interval bars."""
    axes.plot(
        x,
        [100 * value.value for value in values],
        look.line,
        color=look.colour,
        lw=1.2,
        marker=look.mark,
        ms=5,
        label=shorten_label(look.name),
    )
    for place, value in zip(x, values, strict=True):
        axes.plot([place, place], [100 * value.low, 100 * value.high], color=look.colour, lw=1.2)
