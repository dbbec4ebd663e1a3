"""Which way to answer is worth its time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from medtune.analysis.analyze import Evaluation
from medtune.analysis.seed_spread import Row, by_question, mean_over_questions, right_share
from medtune.core.provenance import provenance
from medtune.studies.decoding.schema import DecodingPoint, DecodingRecord, Setting


def judge(
    found: Mapping[Setting, Sequence[Evaluation]], cell_s: float, duration_s: float | None
) -> DecodingRecord:
    """Put every setting's speed, quality and consistency side by side.

    Args:
        found: Every setting's examinations of the same questions, one or several repeats.
        cell_s: Seconds of all examinations.
        duration_s: Of the call that made them all; None where it did not.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    (_, asked), *_ = next(iter(found.values()))
    rows = {
        setting: by_question(asked, [some for _, some in evaluations])
        for setting, evaluations in found.items()
    }
    right = {setting: [right_share(row) for row in some] for setting, some in rows.items()}
    best = max(right, key=lambda setting: fmean(right[setting]))
    points = [_point(s, found[s], rows[s], right[s], right[best]) for s in found]
    points = [p.model_copy(update={"pareto": _unbeaten(p, points)}) for p in points]
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
        provenance=provenance(record.provenance.gpu),
    )


def _point(
    setting: Setting,
    evaluations: Sequence[Evaluation],
    rows: Sequence[Row],
    right: Sequence[float],
    best: Sequence[float],
) -> DecodingPoint:
    records = [record for record, _ in evaluations]
    n, repeats = len(right), len(evaluations)
    accuracy, low, high = mean_over_questions(right)
    gaps = [b - own for b, own in zip(best, right, strict=True)]
    behind, behind_low, behind_high = mean_over_questions(gaps)
    asked_twice = setting.sampled and repeats > 1
    outcomes = [[p.chosen for p in row] for row in rows] if asked_twice else []
    written = [p.written for row in rows for p in row if p.written is not None]
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
        questions_per_s=n / fmean(n / record.questions_per_s for record in records),
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


def _unbeaten(point: DecodingPoint, points: Sequence[DecodingPoint]) -> bool:
    return not any(
        other.accuracy >= point.accuracy
        and other.questions_per_s >= point.questions_per_s
        and (other.accuracy, other.questions_per_s) != (point.accuracy, point.questions_per_s)
        for other in points
    )


def _verdict(chosen: DecodingPoint, best: DecodingPoint, n: int) -> str:
    head = (
        f"Recommended: {chosen.setting.spoken}, {100 * chosen.accuracy:.1f} % "
        f"({100 * chosen.low:.1f} to {100 * chosen.high:.1f}) at "
        f"{chosen.questions_per_s:.1f} questions/s, n = {n}"
    )
    if chosen.setting == best.setting:
        return f"{head}; nothing is more accurate."
    return (
        f"{head}; the most accurate, {best.setting.spoken}, has {100 * best.accuracy:.1f} % at "
        f"{best.questions_per_s:.1f}, which is {100 * chosen.behind:+.1f} points "
        f"({100 * chosen.behind_low:+.1f} to {100 * chosen.behind_high:+.1f}): not detectably more."
    )
