"""Compare decoding settings by accuracy, speed and consistency."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from medtune.analysis.seed_spread import (
    RepeatedAnswers,
    align_repeats,
    mean_with_interval,
    share_correct,
)
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.studies.decoding.schema import DecodingPoint, DecodingRecord, Setting


def build_decoding_record(
    found: Mapping[Setting, Sequence[Evaluation]], cell_s: float, duration_s: float | None
) -> DecodingRecord:
    """Build the record of the decoding study.

    Args:
        found: Evaluations of every setting on the same questions, one or several repeats.
        cell_s: Seconds of all evaluations.
        duration_s: Duration of the call if it ran all evaluations, else None.

    Raises:
        PredictionsError: The evaluations are not of the same questions.
    """
    (_, asked), *_ = next(iter(found.values()))
    rows = {
        setting: align_repeats(asked, [some for _, some in evaluations])
        for setting, evaluations in found.items()
    }
    right = {setting: [share_correct(row) for row in some] for setting, some in rows.items()}
    best = max(right, key=lambda setting: fmean(right[setting]))
    points = [_point(s, found[s], rows[s], right[s], right[best]) for s in found]
    points = [p.model_copy(update={"pareto": _is_pareto_optimal(p, points)}) for p in points]
    good = [point for point in points if point.behind_low <= 0]
    chosen = max(good, key=lambda point: point.questions_per_s)
    (record, _), *_ = found[best]
    return DecodingRecord(
        label=record.label,
        model=record.model,
        data=record.data,
        n=len(asked),
        chance=record.chance,
        points=tuple(points),
        recommended=chosen.setting.name,
        verdict=_verdict(chosen, next(p for p in points if p.setting == best), len(asked)),
        cell_s=cell_s,
        duration_s=duration_s,
        provenance=collect_provenance(record.provenance.gpu),
    )


def _point(
    setting: Setting,
    evaluations: Sequence[Evaluation],
    rows: Sequence[RepeatedAnswers],
    right: Sequence[float],
    best: Sequence[float],
) -> DecodingPoint:
    records = [record for record, _ in evaluations]
    n, repeats = len(right), len(evaluations)
    accuracy, low, high = mean_with_interval(right)
    gaps = [b - own for b, own in zip(best, right, strict=True)]
    behind, behind_low, behind_high = mean_with_interval(gaps)
    asked_twice = setting.is_sampled and repeats > 1
    outcomes = [[p.chosen for p in row] for row in rows] if asked_twice else []
    written = [p.written for row in rows for p in row if p.written is not None]
    rates = [r.questions_per_s for r in records if r.questions_per_s is not None]
    ended = [p.stopped for row in rows for p in row if p.stopped is not None]
    return DecodingPoint(
        setting=setting,
        repeats=repeats,
        accuracy=accuracy,
        low=max(0.0, low),
        high=min(1.0, high),
        answer_rate=fmean(record.answer_rate.value for record in records),
        stop_rate=fmean(ended) if ended else None,
        written=fmean(written) if written else None,
        questions_per_s=n / fmean(n / rate for rate in rates),
        agreement=fmean(map(_agreement, outcomes)) if outcomes else None,
        entropy=fmean(map(_entropy, outcomes)) if outcomes else None,
        behind=behind,
        behind_low=max(-1.0, behind_low),
        behind_high=min(1.0, behind_high),
        pareto=False,
    )


def _agreement(outcomes: Sequence[int | None]) -> float:
    """Return the share of pairs of repeats with one outcome."""
    return fmean(a == b for a, b in combinations(outcomes, 2))


def _entropy(outcomes: Sequence[int | None]) -> float:
    """Return the entropy of the outcomes, bits."""
    shares = [count / len(outcomes) for count in Counter(outcomes).values()]
    return -math.fsum(share * math.log2(share) for share in shares)


def _is_pareto_optimal(point: DecodingPoint, points: Sequence[DecodingPoint]) -> bool:
    return not any(
        other.accuracy >= point.accuracy
        and other.questions_per_s >= point.questions_per_s
        and (other.accuracy, other.questions_per_s) != (point.accuracy, point.questions_per_s)
        for other in points
    )


def _verdict(chosen: DecodingPoint, best: DecodingPoint, n: int) -> str:
    head = (
        f"Recommended: {chosen.setting.display_name}, {100 * chosen.accuracy:.1f} % "
        f"correct (95 % {100 * chosen.low:.1f} to {100 * chosen.high:.1f}) at "
        f"{chosen.questions_per_s:.1f} questions/s, n = {n}"
    )
    if chosen.setting == best.setting:
        return f"{head}; no other setting is more accurate."
    return (
        f"{head}; the most accurate, {best.setting.display_name}, has {100 * best.accuracy:.1f} % "
        f"at {best.questions_per_s:.1f} questions/s: {100 * chosen.behind:+.1f} points (95 % "
        f"{100 * chosen.behind_low:+.1f} to {100 * chosen.behind_high:+.1f}), not detectably more."
    )
