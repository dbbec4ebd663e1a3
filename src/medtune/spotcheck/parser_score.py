"""How well matchers read the sampled outputs, by one reviewer's word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medtune.core.intervals import wilson
from medtune.spotcheck.schema import (
    Choice,
    DrawnItem,
    MatcherScore,
    ParserReviewItem,
    ReviewedAccuracy,
    ReviewerScore,
    ReviewSample,
)
from medtune.spotcheck.stratified import StratifiedShares

SAME, OTHER, NONE, CANNOT_TELL, MISSED, NONE_UNREAD, CANNOT_TELL_UNREAD = range(7)
"""How an item was read against what the reviewer sees: four cells where the parser read an
option, three where it read none."""
READ = (SAME, OTHER, NONE, CANNOT_TELL)
UNREAD = (NONE_UNREAD, MISSED, CANNOT_TELL_UNREAD)
NOT_RIGHT, DENIED, CREDITED, RIGHT, ELSEWHERE = range(5)
"""Whether an item is correct: by neither, the reviewer only, the matcher only, both; ELSEWHERE:
in another evaluation."""
CREDIT_READ = (RIGHT, NOT_RIGHT, CREDITED, DENIED)
CREDIT_UNREAD = (NOT_RIGHT, DENIED)


@dataclass(frozen=True)
class Matcher:
    """Another way to read the sampled texts, held against the same marks."""

    name: str
    choose: Callable[[ParserReviewItem], int | None] | None
    """The option read; None for a matcher that only says whether an answer is correct."""
    correct: Callable[[ParserReviewItem, int], bool]
    """Whether it calls the item correct, given the key."""


class Bench:
    """The sample, its hidden side, and the matchers to hold against a reviewer's choices."""

    def __init__(
        self,
        sample: ReviewSample,
        items: Sequence[ParserReviewItem],
        ledger: Sequence[DrawnItem],
        matchers: Sequence[Matcher],
    ) -> None:
        self._sample = sample
        self._items = {item.id: item for item in items}
        self._ledger = ledger
        self._matchers = matchers
        self._sizes = [stratum.size for stratum in sample.strata]

    def score(self, reviewer: str, choices: Mapping[str, Choice]) -> ReviewerScore:
        """Score what follows from one reviewer's choices."""
        marked = [drawn for drawn in self._ledger if drawn.id in choices]
        tally = Counter(choices.values())
        return ReviewerScore(
            reviewer=reviewer,
            marked=len(marked),
            none=tally["none"],
            unsure=tally["unsure"],
            confusion=_confusion(marked, choices),
            matchers=(
                self._parser(marked, choices),
                *(self._other(matcher, marked, choices) for matcher in self._matchers),
            ),
            accuracy=tuple(
                self._accuracy(index, marked, choices)
                for index in range(len(self._sample.evaluations))
                if any(drawn.evaluation == index for drawn in marked)
            ),
        )

    def _parser(self, marked: Sequence[DrawnItem], choices: Mapping[str, Choice]) -> MatcherScore:
        """Score the parser as it read; what a stratum was read as, all of it was read as."""
        reading = [_reading(drawn.chosen, choices[drawn.id]) for drawn in marked]
        credit = [
            _credit(drawn.chosen == drawn.answer, choices[drawn.id] == drawn.answer)
            for drawn in marked
        ]
        read = [stratum.read for stratum in self._sample.strata]
        return _scored(
            f"parser version {self._sample.parser}, as evaluated",
            self._shares(marked, reading, [READ if r else UNREAD for r in read], 7),
            reading,
            self._shares(marked, credit, [CREDIT_READ if r else CREDIT_UNREAD for r in read], 4),
        )

    def _other(
        self, matcher: Matcher, marked: Sequence[DrawnItem], choices: Mapping[str, Choice]
    ) -> MatcherScore:
        credit, reading = [], []
        for drawn in marked:
            item, choice = self._items[drawn.id], choices[drawn.id]
            credit.append(_credit(matcher.correct(item, drawn.answer), choice == drawn.answer))
            if matcher.choose:
                reading.append(_reading(matcher.choose(item), choice))
        anywhere = [range(7)] * len(self._sizes)
        return _scored(
            matcher.name,
            self._shares(marked, reading, anywhere, 7) if matcher.choose else None,
            reading,
            self._shares(marked, credit, [CREDIT_READ] * len(self._sizes), 4),
        )

    def _accuracy(
        self, index: int, marked: Sequence[DrawnItem], choices: Mapping[str, Choice]
    ) -> ReviewedAccuracy:
        evaluation = self._sample.evaluations[index]
        cells = [
            _credit(drawn.chosen == drawn.answer, choices[drawn.id] == drawn.answer)
            if drawn.evaluation == index
            else ELSEWHERE
            for drawn in marked
        ]
        several = (ELSEWHERE,) if len(self._sample.evaluations) > 1 else ()
        possible = [
            (*(CREDIT_READ if stratum.read else CREDIT_UNREAD), *several)
            for stratum in self._sample.strata
        ]
        parsed = wilson(evaluation.correct, evaluation.n)
        reviewed = self._shares(marked, cells, possible, 5).moved(
            parsed.value, up=DENIED, down=CREDITED, whole=CREDIT_READ
        )
        assert reviewed is not None, "asked only where the evaluation has marks"
        return ReviewedAccuracy(
            label=evaluation.label, source=evaluation.source, parsed=parsed, reviewed=reviewed
        )

    def _shares(
        self,
        marked: Sequence[DrawnItem],
        cells: Sequence[int],
        possible: Sequence[Sequence[int]],
        count: int,
    ) -> StratifiedShares:
        by_stratum: list[list[int]] = [[] for _ in self._sizes]
        for drawn, cell in zip(marked, cells, strict=True):
            by_stratum[drawn.stratum].append(cell)
        return StratifiedShares(self._sizes, by_stratum, possible, count)


def _scored(
    name: str, readings: StratifiedShares | None, reading: Sequence[int], credit: StratifiedShares
) -> MatcherScore:
    tally = Counter(reading)
    same, read = tally[SAME], tally[SAME] + tally[OTHER] + tally[NONE]
    seen = tally[SAME] + tally[OTHER] + tally[MISSED]
    return MatcherScore(
        matcher=name,
        precision=readings.ratio((SAME,), (SAME, OTHER, NONE)) if readings else None,
        recall=readings.ratio((SAME,), (SAME, OTHER, MISSED)) if readings else None,
        precision_counted=wilson(same, read) if read else None,
        recall_counted=wilson(same, seen) if seen else None,
        credited_wrongly=credit.ratio((CREDITED,), (CREDITED, RIGHT)),
        denied_wrongly=credit.ratio((DENIED,), (DENIED, RIGHT)),
    )


def _reading(chosen: int | None, choice: Choice) -> int:
    """Tell the cell of an item."""
    if chosen is None:
        return {"none": NONE_UNREAD, "unsure": CANNOT_TELL_UNREAD}.get(str(choice), MISSED)
    if chosen == choice:
        return SAME
    return {"none": NONE, "unsure": CANNOT_TELL}.get(str(choice), OTHER)


def _credit(by_matcher: bool, by_reviewer: bool) -> int:
    if by_matcher:
        return RIGHT if by_reviewer else CREDITED
    return DENIED if by_reviewer else NOT_RIGHT


def misread(chosen: int | None, choice: Choice) -> bool:
    """Tell whether the parser read an item otherwise than the reviewer, who could tell."""
    return _reading(chosen, choice) in (OTHER, NONE, MISSED)


def _confusion(
    marked: Sequence[DrawnItem], choices: Mapping[str, Choice]
) -> dict[str, dict[str, int]]:
    tally = Counter(_reading(drawn.chosen, choices[drawn.id]) for drawn in marked)
    return {
        "read": {
            "same option": tally[SAME],
            "another option": tally[OTHER],
            "none": tally[NONE],
            "unsure": tally[CANNOT_TELL],
        },
        "unread": {
            "an option": tally[MISSED],
            "none": tally[NONE_UNREAD],
            "unsure": tally[CANNOT_TELL_UNREAD],
        },
    }
