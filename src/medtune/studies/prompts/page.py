"""Render the page of the prompt study."""

from __future__ import annotations

from collections.abc import Iterator

from medtune.reports.result_table import PAGE, Column, ResultTable, estimate, number, text
from medtune.reports.templating import render_page
from medtune.studies.prompts.schema import PromptPoint, PromptStudyRecord


def points_table(record: PromptStudyRecord) -> ResultTable[PromptPoint]:
    """Return the table of the prompts, the most accurate first."""
    own = record.points[0].variant

    def mark(point: PromptPoint) -> str:
        marks = {"chosen": record.chosen, "own": own}
        return " ".join(word for word, variant in marks.items() if variant == point.variant)

    columns: list[Column[PromptPoint]] = [
        text("system message", lambda p: p.variant.system or None, kind="code"),
        text("option", lambda p: p.variant.option, kind="code"),
        text("instruction", lambda p: p.variant.instruction or None, kind="code"),
        number("examples", lambda p: p.variant.shots),
        estimate("correct %", lambda p: p.accuracy),
        estimate("gain, points", lambda p: (p.gain, p.gain_low, p.gain_high), spec="+.1f"),
        text("", mark, PAGE),
    ]
    return ResultTable(columns, sorted(record.points, key=lambda p: -p.accuracy.value))


def summarize(record: PromptStudyRecord) -> Iterator[str | ResultTable[PromptPoint]]:
    """Yield what a terminal shows, the verdict last."""
    yield points_table(record)
    yield record.verdict


def render(record: PromptStudyRecord) -> str:
    """Render the page: verdict, both accuracies on the reported split, every prompt."""
    return render_page("studies/prompts.html", study=record, points=points_table(record))
