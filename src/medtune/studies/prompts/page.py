"""Render the page of the prompt study."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.reports import result_table as table
from medtune.reports.accuracy_table import accuracy_table
from medtune.reports.templating import render_page
from medtune.studies.prompts.schema import PromptPoint, PromptStudyRecord


def points_table(record: PromptStudyRecord) -> table.ResultTable[PromptPoint]:
    """Return the table of the prompts, the most accurate first."""
    own = record.points[0].variant

    def mark(point: PromptPoint) -> str:
        marks = {"chosen": record.chosen, "own": own}
        return " ".join(word for word, variant in marks.items() if variant == point.variant)

    columns: list[table.Column[PromptPoint]] = [
        table.text("system message", lambda p: p.variant.system or None, kind="code"),
        table.text("option", lambda p: p.variant.option, kind="code"),
        table.text("instruction", lambda p: p.variant.instruction or None, kind="code"),
        table.number("examples", lambda p: p.variant.shots),
        table.estimate("correct %", lambda p: p.accuracy),
        table.estimate("gain, points", lambda p: (p.gain, p.gain_low, p.gain_high), spec="+.1f"),
        table.text("", mark, table.PAGE),
    ]
    return table.ResultTable(columns, sorted(record.points, key=lambda p: -p.accuracy.value))


def summarize(record: PromptStudyRecord) -> Iterator[str | table.ResultTable[PromptPoint]]:
    """Yield what a terminal shows, the verdict last."""
    yield points_table(record)
    yield record.verdict


def render(record: PromptStudyRecord) -> str:
    """Render the page: verdict, both accuracies on the reported split, every prompt."""
    reported = [record.own_reported, record.chosen_reported]
    if record.chosen == record.points[0].variant:
        reported.pop()
    return render_page(
        "studies/prompts.html",
        study=record,
        accuracies=accuracy_table([reported]),
        points=points_table(record),
    )
