"""Compare closed and open book on the same questions."""

from __future__ import annotations

from collections.abc import Mapping

from medtune.analysis.breakdown import holm_correction
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.similarity import accuracy_without_most_similar
from medtune.core.formatting import format_p_value
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.retrieval.schema import IndexManifest
from medtune.studies.open_book.schema import (
    BookPoint,
    BookSetting,
    OpenBookRecord,
    PairedGain,
    SearchedIndex,
)


def build_open_book_record(
    found: Mapping[BookSetting, Evaluation],
    searched: Mapping[float, SearchedIndex],
    index: IndexManifest,
    words: int,
    cell_s: float,
) -> OpenBookRecord:
    """Build the record of the open-book study.

    Args:
        found: Evaluations of every setting on the same questions.
        searched: The searches by share of the index.
        index: Manifest of the whole index.
        words: Most words of a passage in a prompt.
        cell_s: Seconds of all evaluations.

    Raises:
        PredictionsError: The evaluations are not of the same questions.
    """
    points = tuple(_point(setting, found, searched) for setting in found)
    (record, _), *_ = (one for s, one in found.items() if s.model is not None)
    return OpenBookRecord(
        models={s.model: one[0].model for s, one in found.items() if s.model is not None},
        data=record.data,
        n=record.counts.n,
        chance=record.chance,
        method=record.method,
        words=words,
        index=index.hash,
        passages=index.passages,
        shares={share: len(one.excluded) for share, one in searched.items()},
        points=points,
        verdict=_verdict(points),
        cell_s=cell_s,
        provenance=collect_provenance(record.provenance.gpu),
    )


def _point(
    setting: BookSetting,
    found: Mapping[BookSetting, Evaluation],
    searched: Mapping[float, SearchedIndex],
) -> BookPoint:
    own = found[setting]
    share = setting.share if setting.share is not None else max(searched)
    over_closed = over_search = None
    if setting.model is not None:
        search = BookSetting(model=None, kind="search", share=share)
        over_search = _gain(found[search], own)
    if setting.passages:
        over_closed = _gain(found[BookSetting(model=setting.model, kind="closed")], own)
    where = searched[share]
    return BookPoint(
        setting=setting,
        indexed=None if setting.share is None else where.passages - len(where.excluded),
        accuracy=own[0].accuracy,
        less_similar=accuracy_without_most_similar(own[1]),
        over_closed=over_closed,
        over_search=over_search,
    )


def _gain(before: Evaluation, after: Evaluation) -> PairedGain:
    # A search and a reader are asked each in its own way.
    compared = compare_evaluations(before, after, releases=True)
    return PairedGain(
        value=compared.difference,
        low=compared.difference_low,
        high=compared.difference_high,
        p_value=compared.p_value,
    )


def _verdict(points: tuple[BookPoint, ...]) -> str:
    """Return the verdict on the most accurate open book; p-values are corrected by Holm."""
    read = [p for p in points if p.over_closed is not None and p.over_search is not None]
    gains = [p.over_closed for p in read if p.over_closed is not None]
    leads = [p.over_search for p in read if p.over_search is not None]
    corrected = holm_correction([gain.p_value for gain in (*gains, *leads)])
    at = max(range(len(read)), key=lambda place: read[place].accuracy.value)
    best = read[at]
    head = (
        f"The best of {len(read)} open-book settings, {best.setting.model} with "
        f"{best.setting.display_name}, answers {100 * best.accuracy.value:.1f} % (95 % "
        f"{100 * best.accuracy.low:.1f} to {100 * best.accuracy.high:.1f}, n = {best.accuracy.n:,})"
    )
    closed = _describe_gain(gains[at], corrected[at], "its closed book")
    search = _describe_gain(leads[at], corrected[len(read) + at], "the search alone")
    return f"{head}: {closed}, and {search}."


def _describe_gain(gain: PairedGain, p: float, than: str) -> str:
    if p >= 0.05:
        found = f"not detectably different from {than}, "
    else:
        found = f"{'better' if gain.value > 0 else 'worse'} than {than} by "
    return (
        f"{found}{100 * gain.value:+.1f} points (95 % {100 * gain.low:+.1f} to "
        f"{100 * gain.high:+.1f}, p after Holm {format_p_value(p)})"
    )
