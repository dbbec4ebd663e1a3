"""Notes on open-book accuracies, and on a text search in the training questions as a baseline."""

from __future__ import annotations

from medtune.analysis.breakdown import ALPHA
from medtune.core.formatting import format_p_value, format_percent, format_share
from medtune.core.records import EvaluationRecord, OpenBook


def search_note(record: EvaluationRecord) -> str | None:
    """Return a sentence that says whether a model beats the search; None without a search."""
    found = record.search
    if found is None:
        return None
    if found.beaten:
        verdict = "beats"
    elif found.p_value < ALPHA:
        verdict = "does not beat"
    else:
        verdict = "is not shown to beat"
    return (
        f"{record.label} on {record.data.source}, {record.method}: the model {verdict} a text "
        f"search in the training questions: {format_percent(record.accuracy.value)} against "
        f"{format_percent(found.accuracy.value)} %, exact McNemar p "
        f"{format_p_value(found.p_value)}, n = {found.accuracy.n:,}."
    )


def open_book_note(record: EvaluationRecord) -> str | None:
    """Return what a model read, and its accuracy without the most similar tenth of the questions.

    Returns:
        The note; None for a closed book.
    """
    book = record.open_book
    if book is None:
        return None
    rest = (
        "too few questions to leave the most similar tenth out"
        if book.less_similar is None
        else f"{format_share(book.less_similar)} without the most similar tenth of the questions"
    )
    return (
        f"{record.label} on {record.data.source}, {record.method}: open book, "
        f"{format_percent(record.accuracy.value)} %; {rest}. {_describe_passages(book)} "
        f"Left out of the index, because they leak a question: {_count(book.left_out, 'passage')}."
    )


def _describe_passages(book: OpenBook) -> str:
    if book.words is None:
        return f"A search in {_count(book.passages, 'passage')}."
    shown = f"{_count(book.passages, 'passage')} of at most {book.words} words"
    text = f"{shown} for each option" if book.kind == "per-option" else f"{shown} for all options"
    text += f", {book.cut:,} cut to that length"
    if book.without:
        text += f"; {_count(book.without, 'question')} for which none was found"
    return f"{text}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
