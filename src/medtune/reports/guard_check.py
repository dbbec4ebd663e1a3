"""Write the page of a checked file: shares, and errors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from medtune.core.run_folder import write_text
from medtune.core.schemas.guard_check import (
    CheckedLine,
    CheckedShare,
    GuardCheckRecord,
    QuestionLine,
    TextSpan,
)
from medtune.reports import result_table as table
from medtune.reports.templating import render_page

MAX_ERRORS = 1000
"""Most errors on a page."""
SHARES: list[table.Column[CheckedShare]] = [
    table.label("expected", lambda share: share.name),
    table.number("n", lambda share: share.right.n),
    table.estimate("as expected %", lambda share: share.right),
]
Error = tuple[QuestionLine, CheckedLine, Sequence[TextSpan]]
"""A line, what the guards say, and the identifiers they missed."""


def write_guard_check(path: Path, record: GuardCheckRecord, errors: Sequence[Error]) -> None:
    """Write the page; of many errors the first ones.

    Raises:
        FolderError: The page cannot be written.
    """
    page = render_page(
        "guard_check.html",
        check=record,
        shares=table.ResultTable(SHARES, record.shares),
        errors=list(islice(errors, MAX_ERRORS)),
        all=len(errors),
        parts=mark_spans,
    )
    write_text(path, page)


def mark_spans(
    text: str, field: str, found: Sequence[TextSpan], missed: Sequence[TextSpan]
) -> list[tuple[str, str, str]]:
    """Cut a text at its spans: (piece, found or missed or "", kind); found wins."""
    states = [("", "")] * len(text)
    for state, spans in (("missed", missed), ("found", found)):
        for span in spans:
            if span.field == field:
                end = min(span.end, len(text))
                states[span.start : end] = [(state, span.kind)] * max(0, end - span.start)
    pieces: list[tuple[str, str, str]] = []
    for letter, (state, kind) in zip(text, states, strict=True):
        if pieces and pieces[-1][1:] == (state, kind):
            pieces[-1] = (pieces[-1][0] + letter, state, kind)
        else:
            pieces.append((letter, state, kind))
    return pieces
