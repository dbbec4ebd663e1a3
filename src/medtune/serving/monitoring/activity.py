"""Count the requests of a period and their outcomes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import get_args

from pydantic import Field

from medtune.core.intervals import wilson_interval
from medtune.core.records import Proportion, Record
from medtune.core.schemas.guardrails import Action, GuardName
from medtune.serving.inference.predictor import is_withheld
from medtune.serving.monitoring.schema import ShadowComparison, ShadowReviewed
from medtune.serving.schemas import (
    DecisionKind,
    Feedback,
    RequestRecord,
    Reviewed,
    ShadowAnswer,
    Status,
)

CONFIDENCE_BINS = 10
"""Number of equal bins of the confidence histogram."""


class ReasonCount(Record):
    """How often a guard gave a reason."""

    guard: GuardName
    action: Action
    reason: str
    """Code of the reason."""
    n: int = Field(gt=0)


class Activity(Record):
    """Counts of the requests of a period."""

    n: int = Field(ge=0)
    """Requests."""
    by_status: dict[Status, int]
    """Requests by their first status; every status has a count."""
    decided: dict[DecisionKind, int]
    """Decisions on requests held for a reviewer; every kind has a count."""
    undecided: int
    """Requests held for a reviewer and not decided."""
    deferral: Proportion | None
    """Requests deferred or held for a reviewer, of all; None without requests."""
    reasons: tuple[ReasonCount, ...]
    """The most frequent first, without passing verdicts."""
    confidence: tuple[int, ...]
    """Requests by confidence, in `CONFIDENCE_BINS` bins from 0 to 1."""
    scored: int
    """Requests that the model was asked."""
    helpful: int
    unhelpful: int
    corrected: int
    """Feedback with a letter."""
    confirmed: int
    """Of these, those with the model's letter."""


def summarize_activity(
    entries: Iterable[RequestRecord],
    decisions: Mapping[str, DecisionKind],
    feedback: Iterable[Feedback],
) -> Activity:
    """Count the requests of a period; decisions by request id and feedback may be on others."""
    statuses, reviewed = Counter[Status](), Counter[DecisionKind]()
    reasons = Counter[tuple[GuardName, Action, str]]()
    bins = Counter[int]()
    chosen: dict[str, int | None] = {}
    for entry in entries:
        statuses[entry.status] += 1
        chosen[entry.request_id] = entry.chosen
        if entry.status == "pending_review" and entry.request_id in decisions:
            reviewed[decisions[entry.request_id]] += 1
        for verdict in entry.reasons:
            if verdict.reason is not None:
                reasons[verdict.guard, verdict.action, verdict.reason] += 1
        if entry.probabilities is not None:
            bins[min(CONFIDENCE_BINS - 1, int(CONFIDENCE_BINS * max(entry.probabilities)))] += 1
    said = [one for one in feedback if one.request_id in chosen]
    corrected = [one for one in said if one.corrected is not None]
    n, held = len(chosen), statuses["deferred"] + statuses["pending_review"]
    return Activity(
        n=n,
        by_status={status: statuses[status] for status in get_args(Status)},
        decided={kind: reviewed[kind] for kind in get_args(DecisionKind)},
        undecided=statuses["pending_review"] - reviewed.total(),
        deferral=wilson_interval(held, n) if n else None,
        reasons=tuple(
            ReasonCount(guard=guard, action=action, reason=reason, n=k)
            for (guard, action, reason), k in sorted(
                reasons.items(), key=lambda row: (-row[1], row[0])
            )
        ),
        confidence=tuple(bins[i] for i in range(CONFIDENCE_BINS)),
        scored=bins.total(),
        helpful=sum(one.helpful is True for one in said),
        unhelpful=sum(one.helpful is False for one in said),
        corrected=len(corrected),
        confirmed=sum(one.corrected == chosen[one.request_id] for one in corrected),
    )


def compare_shadows(
    shadowed: Iterable[tuple[RequestRecord, ShadowAnswer]], finals: Iterable[Reviewed]
) -> tuple[ShadowComparison, ...]:
    """Compare each shadow with each champion, in order of first appearance.

    Reviewers' decisions on other requests are ignored.
    """
    right = {one.item.request_id: one.answer for one in finals if one.answer is not None}
    counts = defaultdict[tuple[str, str], Counter[str]](Counter)
    for entry, shadow in shadowed:
        count = counts[shadow.release, entry.release]
        count[shadow.outcome] += 1
        if shadow.chosen is None:
            continue
        count["unsure"] += shadow.unsure is True
        count["unsure_champion"] += is_withheld(entry.reasons)
        if entry.request_id in right:
            answer = right[entry.request_id]
            count[_RIGHT[entry.chosen == answer, shadow.chosen == answer]] += 1
    return tuple(_shadow_comparison(*names, count) for names, count in counts.items())


_RIGHT = {
    (True, True): "both",
    (True, False): "only_champion",
    (False, True): "only_shadow",
    (False, False): "neither",
}


def _shadow_comparison(release: str, champion: str, count: Counter[str]) -> ShadowComparison:
    n = count["same"] + count["other"]
    rates = {
        name: wilson_interval(count[name], n) if n else None
        for name in ("unsure", "unsure_champion")
    }
    reviewed = ShadowReviewed(**{name: count[name] for name in _RIGHT.values()})
    return ShadowComparison(
        release=release,
        champion=champion,
        same=count["same"],
        agreement=wilson_interval(count["same"], n) if n else None,
        skipped=count["skipped"],
        failed=count["failed"],
        reviewed=reviewed if reviewed.n else None,
        **rates,
    )
