"""What was asked in some time, and what became of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import get_args

from pydantic import Field

from medtune.core.intervals import wilson
from medtune.core.records import Proportion, Record
from medtune.core.schemas.guardrails import Action, GuardName
from medtune.serving.inference.predictor import unsure
from medtune.serving.monitoring.schema import ShadowComparison, ShadowReviewed
from medtune.serving.schemas import (
    DecisionKind,
    Feedback,
    RequestRecord,
    Reviewed,
    ShadowAnswer,
    Status,
)

BINS = 10
"""Of the histogram; each as wide as the others, the last one closed."""


class ReasonCount(Record):
    """How often a guard gave a reason."""

    guard: GuardName
    action: Action
    reason: str
    """Its code."""
    n: int = Field(gt=0)


class Activity(Record):
    """Requests of some time, counted."""

    n: int = Field(ge=0)
    """Requests."""
    by_status: dict[Status, int]
    """As they were first answered; every status has its count."""
    decided: dict[DecisionKind, int]
    """Of those held for a reviewer; every kind has its count."""
    undecided: int
    """Of those held for a reviewer."""
    deferral: Proportion | None
    """Neither answered nor refused at once, among all; None where nothing was asked."""
    reasons: tuple[ReasonCount, ...]
    """The most frequent first; what passed is left out."""
    confidence: tuple[int, ...]
    """Requests by confidence, in `BINS` bins from 0 to 1."""
    scored: int
    """Requests on which the model was asked."""
    helpful: int
    unhelpful: int
    corrected: int
    """Feedback with a letter."""
    confirmed: int
    """Of these, the letter that the model chose."""


def summarized(
    entries: Iterable[RequestRecord],
    decisions: Mapping[str, DecisionKind],
    feedback: Iterable[Feedback],
) -> Activity:
    """Count requests.

    Args:
        entries: Those of the time.
        decisions: What reviewers decided, by request.
        feedback: What askers said, of these requests or of others, which are left out.
    """
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
            bins[min(BINS - 1, int(BINS * max(entry.probabilities)))] += 1
    said = [one for one in feedback if one.request_id in chosen]
    corrected = [one for one in said if one.corrected is not None]
    n, held = len(chosen), statuses["deferred"] + statuses["pending_review"]
    return Activity(
        n=n,
        by_status={status: statuses[status] for status in get_args(Status)},
        decided={kind: reviewed[kind] for kind in get_args(DecisionKind)},
        undecided=statuses["pending_review"] - reviewed.total(),
        deferral=wilson(held, n) if n else None,
        reasons=tuple(
            ReasonCount(guard=guard, action=action, reason=reason, n=k)
            for (guard, action, reason), k in sorted(
                reasons.items(), key=lambda row: (-row[1], row[0])
            )
        ),
        confidence=tuple(bins[i] for i in range(BINS)),
        scored=bins.total(),
        helpful=sum(one.helpful is True for one in said),
        unhelpful=sum(one.helpful is False for one in said),
        corrected=len(corrected),
        confirmed=sum(one.corrected == chosen[one.request_id] for one in corrected),
    )


def compared(
    shadowed: Iterable[tuple[RequestRecord, ShadowAnswer]], finals: Iterable[Reviewed]
) -> tuple[ShadowComparison, ...]:
    """Hold shadows against the champions beside whom they answered, in order of appearance.

    Args:
        shadowed: Requests, each with what a shadow made of it.
        finals: What reviewers decided, on these requests or on others, which are left out.
    """
    right = {one.item.request_id: one.answer for one in finals if one.answer is not None}
    counts = defaultdict[tuple[str, str], Counter[str]](Counter)
    for entry, shadow in shadowed:
        count = counts[shadow.release, entry.release]
        count[shadow.outcome] += 1
        if shadow.chosen is None:
            continue
        count["unsure"] += shadow.unsure is True
        count["unsure_champion"] += unsure(entry.reasons)
        if entry.request_id in right:
            answer = right[entry.request_id]
            count[_RIGHT[entry.chosen == answer, shadow.chosen == answer]] += 1
    return tuple(_comparison(*names, count) for names, count in counts.items())


_RIGHT = {
    (True, True): "both",
    (True, False): "only_champion",
    (False, True): "only_shadow",
    (False, False): "neither",
}


def _comparison(release: str, champion: str, count: Counter[str]) -> ShadowComparison:
    n = count["same"] + count["other"]
    rates = {name: wilson(count[name], n) if n else None for name in ("unsure", "unsure_champion")}
    reviewed = ShadowReviewed(**{name: count[name] for name in _RIGHT.values()})
    return ShadowComparison(
        release=release,
        champion=champion,
        same=count["same"],
        agreement=wilson(count["same"], n) if n else None,
        skipped=count["skipped"],
        failed=count["failed"],
        reviewed=reviewed if reviewed.n else None,
        **rates,
    )
