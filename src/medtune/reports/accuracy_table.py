"""Describe the table of evaluations: every accuracy with its interval and its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from medtune.core.records import EvaluationRecord, Proportion
from medtune.core.schemas.dataset import short_source_name
from medtune.reports import result_table as table


def accuracy_table(
    groups: Sequence[Sequence[EvaluationRecord]],
) -> table.ResultTable[EvaluationRecord]:
    """Return the table of evaluations, with a line under each group of the same exam."""
    rows = [evaluation for group in groups for evaluation in group]
    columns: list[table.Column[EvaluationRecord]] = [
        table.label("questions", lambda e: e.data.source, table.TERMINAL),
        table.label("questions", lambda e: short_source_name(e.data.source), table.PAGE),
        table.label("method", lambda e: e.method, table.TERMINAL),
        table.label("method", _method_with_normalization, table.PAGE),
        table.label("model", lambda e: e.label),
        table.estimate("correct %", lambda e: e.accuracy),
        table.number(
            "correct / n", lambda e: f"{e.counts.correct:,} / {e.counts.n:,}", media=table.PAGE
        ),
        table.number("n", lambda e: e.counts.n, media=table.TERMINAL),
        table.number("unparsed", lambda e: e.counts.unparsed),
    ]
    if any(e.stop_rate for e in rows):
        columns.append(table.estimate("stops %", lambda e: e.stop_rate, table.PAGE))
    if any(e.open_book for e in rows):
        columns.append(
            table.estimate("less similar %", lambda e: e.open_book and e.open_book.less_similar)
        )
    if any(e.origin for e in rows):
        columns.append(
            table.label("evaluated by", lambda e: e.origin.display_name if e.origin else "medtune")
        )
    columns += [
        table.percent("chance %", lambda e: e.chance),
        table.number("majority %", lambda e: f"{100 * e.majority.value:.1f} ({e.majority_letter})"),
        table.percent("options only %", lambda e: e.options_only, table.TERMINAL),
    ]
    if any(e.options_only for e in rows):
        columns.append(table.estimate("options only %", lambda e: e.options_only, table.PAGE))
    if any(e.search for e in rows):
        columns += [
            table.percent("search %", _search_accuracy, table.TERMINAL),
            table.estimate("search %", _search_accuracy, table.PAGE),
        ]
    ends = accumulate(len(group) for group in groups)
    return table.ResultTable(columns, rows, [end - 1 for end in ends] if len(groups) > 1 else ())


def _search_accuracy(evaluation: EvaluationRecord) -> Proportion | None:
    return evaluation.search.accuracy if evaluation.search is not None else None


def _method_with_normalization(evaluation: EvaluationRecord) -> str:
    normalization = f" /{evaluation.normalization}" if evaluation.method == "cloze" else ""
    return f"{evaluation.method}{normalization}"
