"""Render the page of the ablation study: verdict, figure, table, examples."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.core.records import TrainingRecord
from medtune.reports import result_table as table
from medtune.reports.figures import (
    SERIES_COLOURS,
    TEXT_COLOUR,
    TUNED_COLOUR,
    add_legend,
    create_axes,
    describe_proportion,
    draw_baselines,
    plot_loss,
    render_svg,
)
from medtune.reports.templating import render_page
from medtune.studies.ablation.schema import AblationRecord, Rung, RungRecord

RUNGS: list[table.Column[RungRecord]] = [
    table.label("rung", lambda r: r.rung.name),
    table.text("what it fixes", lambda r: r.rung.mends, ("page", "markdown")),
    table.estimate("correct %", lambda r: r.accuracy),
    table.estimate(
        "gain, points",
        lambda r: (
            (r.gain.difference, r.gain.difference_low, r.gain.difference_high) if r.gain else None
        ),
        spec="+.1f",
    ),
    table.p_value("p", lambda r: r.gain.p_value if r.gain else None, table.PAGE),
    table.percent("answered %", lambda r: r.evaluation.answer_rate),
    table.percent("stops %", lambda r: r.evaluation.stop_rate),
    table.estimate("letters %", lambda r: r.likelihood.accuracy if r.likelihood else None),
]
TRAININGS: list[table.Column[tuple[str, TrainingRecord]]] = [
    table.label("training", lambda t: t[0]),
    table.number("questions", lambda t: t[1].data.n),
    table.number("steps", lambda t: t[1].steps),
    table.number("supervised tokens", lambda t: t[1].audit.supervised),
    table.number("of them in the prompt", lambda t: t[1].audit.prompt_supervised),
    table.number("end tokens supervised", lambda t: t[1].audit.ends_supervised),
    table.number("last loss", lambda t: t[1].losses[-1].loss, ".2f"),
    table.number("examples/s", lambda t: t[1].examples_per_s, ".1f"),
]


def rungs_table(record: AblationRecord) -> table.ResultTable[RungRecord]:
    """Return the table of the rungs, the base model first."""
    base = RungRecord(
        rung=Rung(name="base model", mends="not trained", training="none"),
        accuracy=record.base.accuracy,
        gain=None,
        evaluation=record.base,
        likelihood=record.base_likelihood,
    )
    return table.ResultTable(RUNGS, [base, *record.rungs])


def summarize(record: AblationRecord) -> Iterator[str | table.ResultTable[RungRecord]]:
    """Yield what a terminal shows, the verdict last."""
    yield rungs_table(record)
    yield from (f"{one.rung.name}: {one.rung.mends}" for one in record.rungs)
    yield record.verdict


def render(record: AblationRecord) -> str:
    """Render the page."""
    losses = {name: plot_loss([one.losses]) for name, one in record.trainings.items()}
    return render_page(
        "studies/ablation.html",
        study=record,
        ladder=plot_ladder(record),
        rungs=rungs_table(record),
        trainings=table.ResultTable(TRAININGS, list(record.trainings.items())),
        losses=losses,
    )


def plot_ladder(record: AblationRecord) -> str:
    """Draw the accuracy of every rung, by free answers and by letters, the base model first."""
    figure, axes = create_axes(8.6, 0.46 * (1 + len(record.rungs)) + 0.9)
    names = ["base model", *(one.rung.name for one in record.rungs)]
    free = [record.base.accuracy, *(one.accuracy for one in record.rungs)]
    likelihoods = [record.base_likelihood, *(one.likelihood for one in record.rungs)]
    letters = [exam.accuracy if exam else None for exam in likelihoods]
    for place, (value, other) in enumerate(zip(free, letters, strict=True)):
        for shift, found, colour in (
            (-0.14, value, TUNED_COLOUR),
            (0.14, other, SERIES_COLOURS[0]),
        ):
            if found is not None:
                at = place + shift
                axes.plot([100 * found.low, 100 * found.high], [at, at], color=colour, lw=2.2)
                axes.plot(100 * found.value, at, "o", color=colour, ms=6)
    axes.plot([], [], "o-", color=TUNED_COLOUR, label="free answers")
    axes.plot([], [], "o-", color=SERIES_COLOURS[0], label="likelihood of the letters")
    draw_baselines(axes.axvline, record.base.chance, record.base.majority.value)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("accuracy, % (bar: Wilson 95 %)")
    axes.grid(axis="x", color=TEXT_COLOUR, alpha=0.2)
    add_legend(figure, 4)
    parts = [
        f"{name}: {describe_proportion(value)}" for name, value in zip(names, free, strict=True)
    ]
    return render_svg(figure, "Accuracy of free answers, per cent. " + "; ".join(parts))
