"""The study of the test's size as a page: answer, figures, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medtune.core.run_folder import write_text
from medtune.reports.figures import BASE, CHANCE, INK, SPLITS, TUNED, canvas, svg
from medtune.reports.templating import render
from medtune.studies.test_size.analysis import detectable_at
from medtune.studies.test_size.schema import (
    AccuracyBySize,
    DifferenceBySize,
    SampleSizeRecord,
    SampleSpread,
)

WIDE = 1.96
"""Standard errors on each side of a mean that hold 95 %."""
_APART = 1.09
"""Factor between two evaluations at one size, so that their bars do not hide each other."""


@dataclass(frozen=True, slots=True)
class SampleSizeFigures:
    """SVG texts."""

    accuracy: str
    difference: str | None
    """None for one evaluation, as is `power`."""
    power: str | None


def write_sample_size(path: Path, record: SampleSizeRecord) -> None:
    """Write the page.

    Raises:
        FolderError: The page cannot be written.
    """
    figures = SampleSizeFigures(
        accuracy=accuracy_sizes_figure(record.evaluations),
        difference=difference_sizes_figure(record.difference) if record.difference else None,
        power=power_figure(record.difference) if record.difference else None,
    )
    write_text(path, render("studies/test_size.html", study=record, figures=figures))


def accuracy_sizes_figure(evaluations: Sequence[AccuracyBySize]) -> str:
    """Draw how accuracies spread at each size, beside the theoretical curves."""
    figure, axes = canvas(8.6, 3.6)
    colours = (TUNED,) if len(evaluations) == 1 else (BASE, TUNED)
    for place, (exam, colour) in enumerate(zip(evaluations, colours, strict=True)):
        value = exam.accuracy.value
        _bars(axes, [(size.n, size.spread) for size in exam.sizes], colour, place, exam.label)
        last = exam.sizes[-1].n
        _band(axes, exam.sizes[0].n, last, value, (value * (1 - value)) ** 0.5, colour)
    axes.axhline(100 * evaluations[0].chance, color=CHANCE, lw=1.2, ls="--", label="chance")
    majority = evaluations[0].majority.value
    axes.axhline(100 * majority, color=CHANCE, lw=1.2, ls=":", label="majority letter")
    axes.set_ylabel("accuracy, %")
    _sizes_axis(axes, [size.n for size in evaluations[0].sizes])
    return _finished(figure, axes)


def difference_sizes_figure(difference: DifferenceBySize) -> str:
    """Draw how the difference spreads at each size, and what each size can detect."""
    figure, axes = canvas(8.6, 3.6)
    sizes, observed = difference.sizes, difference.comparison.difference
    _bars(axes, [(size.n, size.spread) for size in sizes], TUNED, 0, "subsamples")
    deviation = max(0.0, difference.discordance - observed**2) ** 0.5
    _band(axes, sizes[0].n, sizes[-1].n, observed, deviation, TUNED)
    places = _grid(sizes[0].n, sizes[-1].n)
    detectable = [100 * detectable_at(place, difference.comparison) for place in places]
    axes.plot(places, detectable, color=CHANCE, lw=1.5, label="minimum detectable, both signs")
    axes.plot(places, [-value for value in detectable], color=CHANCE, lw=1.5)
    axes.axhline(0, color=INK, lw=1)
    axes.set_ylabel("difference, points")
    _sizes_axis(axes, [size.n for size in sizes])
    return _finished(figure, axes)


def power_figure(difference: DifferenceBySize) -> str:
    """Draw how often each size finds the observed difference."""
    figure, axes = canvas(8.6, 2.8)
    sizes = difference.sizes
    places = [size.n for size in sizes]
    fresh = [100 * size.power_fresh for size in sizes]
    axes.plot(places, fresh, "o-", color=TUNED, lw=2, ms=5, label="fresh questions")
    inside = [100 * size.power for size in sizes]
    axes.plot(places, inside, "o--", color=SPLITS[0], lw=1.5, ms=4, label="subsamples of these")
    wrong = [100 * size.wrong_sign for size in sizes if size.wrong_sign is not None]
    if len(wrong) == len(sizes):
        axes.plot(places, wrong, "x-", color=SPLITS[1], lw=1.5, label="wrong sign, subsamples")
    axes.axhline(80, color=INK, lw=1, ls=":")
    axes.set_ylim(-3, 103)
    axes.set_ylabel("tests with p < 0.05, %")
    _sizes_axis(axes, places)
    return _finished(figure, axes)


def _bars(
    axes: Any, spreads: Sequence[tuple[int, SampleSpread]], colour: str, place: int, label: str
) -> None:
    for n, spread in spreads:
        x = n * _APART**place
        axes.plot([x, x], [100 * spread.least, 100 * spread.most], color=colour, lw=0.8)
        axes.plot([x, x], [100 * spread.low, 100 * spread.high], color=colour, lw=3.5)
    places = [n * _APART**place for n, _ in spreads]
    means = [100 * spread.mean for _, spread in spreads]
    axes.plot(places, means, "o", color=colour, ms=6, label=label)


def _band(axes: Any, first: int, total: int, mean: float, deviation: float, colour: str) -> None:
    """Draw mean ± 1.96 standard errors: of n out of these questions, and of n fresh ones."""
    places = _grid(first, total)
    fresh = deviation / np.sqrt(places)
    within = fresh * np.sqrt((total - places) / (total - 1))
    for errors, style in ((within, "-"), (fresh, ":")):
        for sign in (-1, 1):
            axes.plot(places, 100 * (mean + sign * WIDE * errors), style, color=colour, lw=1)


def _grid(first: int, last: int) -> Any:
    return np.minimum(np.geomspace(first, last, 120), last)


def _sizes_axis(axes: Any, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    # Names of sizes that are nearly the same would be written over each other.
    named = [a for a, b in zip(sizes, [*sizes[1:], 10 * sizes[-1]], strict=True) if b > 1.25 * a]
    axes.set_xticks(named, [f"{n:,}" for n in named])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.25, sizes[-1] * 1.25)
    axes.set_xlabel("questions")
    axes.grid(axis="y", color=INK, alpha=0.2)


def _finished(figure: Any, axes: Any) -> str:
    handles = axes.get_legend_handles_labels()[0]
    figure.legend(
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        ncols=len(handles),
        loc="outside upper right",
    )
    return svg(figure)
