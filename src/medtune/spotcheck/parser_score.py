"""Score matchers on the sampled outputs by one reviewer's marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medtune.core.intervals import wilson_interval
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
"""Cells of the parser's reading against the reviewer's mark: four if the parser read an option,
three if it read none."""
READ_CELLS = (SAME, OTHER, NONE, CANNOT_TELL)
UNREAD_CELLS = (NONE_UNREAD, MISSED, CANNOT_TELL_UNREAD)
NOT_RIGHT, DENIED, CREDITED, RIGHT, ELSEWHERE = range(5)
"""Cells of correctness: by neither, the reviewer only, the matcher only, both; ELSEWHERE: in
another evaluation."""
READ_CREDIT_CELLS = (RIGHT, NOT_RIGHT, CREDITED, DENIED)
UNREAD_CREDIT_CELLS = (NOT_RIGHT, DENIED)


@dataclass(frozen=True)
class Matcher:
    """Another way to read the sampled texts, scored on the same marks."""

    name: str
    choose: Callable[[ParserReviewItem], int | None] | None
    """Returns the option read; None for a matcher that only decides correctness."""
    correct: Callable[[ParserReviewItem, int], bool]
    """Returns whether the item is correct, given the right option."""


class MatcherScorer:
    """Scorer of the parser and other matchers on a sample, by a reviewer's choices."""

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

    def score_reviewer(self, reviewer: str, choices: Mapping[str, Choice]) -> ReviewerScore:
        """Score parser, matchers and accuracies by one reviewer's choices."""
        marked = [drawn for drawn in self._ledger if drawn.id in choices]
        tally = Counter(choices.values())
        return ReviewerScore(
            reviewer=reviewer,
            marked=len(marked),
            none=tally["none"],
            unsure=tally["unsure"],
            confusion=_confusion_matrix(marked, choices),
            matchers=(
                self._score_parser(marked, choices),
                *(self._score_matcher(matcher, marked, choices) for matcher in self._matchers),
            ),
            accuracy=tuple(
                self._reviewed_accuracy(index, marked, choices)
                for index in range(len(self._sample.evaluations))
                if any(drawn.evaluation == index for drawn in marked)
            ),
        )

    def _score_parser(
        self, marked: Sequence[DrawnItem], choices: Mapping[str, Choice]
    ) -> MatcherScore:
        """Score the parser version of the sample; its reading is constant within a stratum."""
        reading = [_reading_cell(drawn.chosen, choices[drawn.id]) for drawn in marked]
        credit = [
            _credit_cell(drawn.chosen == drawn.answer, choices[drawn.id] == drawn.answer)
            for drawn in marked
        ]
        read = [stratum.read for stratum in self._sample.strata]
        return _make_matcher_score(
            f"parser version {self._sample.parser}, as evaluated",
            self._estimate_shares(
                marked, reading, [READ_CELLS if r else UNREAD_CELLS for r in read], 7
            ),
            reading,
            self._estimate_shares(
                marked, credit, [READ_CREDIT_CELLS if r else UNREAD_CREDIT_CELLS for r in read], 4
            ),
        )

    def _score_matcher(
        self, matcher: Matcher, marked: Sequence[DrawnItem], choices: Mapping[str, Choice]
    ) -> MatcherScore:
        credit, reading = [], []
        for drawn in marked:
            item, choice = self._items[drawn.id], choices[drawn.id]
            credit.append(_credit_cell(matcher.correct(item, drawn.answer), choice == drawn.answer))
            if matcher.choose:
                reading.append(_reading_cell(matcher.choose(item), choice))
        anywhere = [range(7)] * len(self._sizes)
        return _make_matcher_score(
            matcher.name,
            self._estimate_shares(marked, reading, anywhere, 7) if matcher.choose else None,
            reading,
            self._estimate_shares(marked, credit, [READ_CREDIT_CELLS] * len(self._sizes), 4),
        )

    def _reviewed_accuracy(
        self, index: int, marked: Sequence[DrawnItem], choices: Mapping[str, Choice]
    ) -> ReviewedAccuracy:
        evaluation = self._sample.evaluations[index]
        cells = [
            _credit_cell(drawn.chosen == drawn.answer, choices[drawn.id] == drawn.answer)
            if drawn.evaluation == index
            else ELSEWHERE
            for drawn in marked
        ]
        several = (ELSEWHERE,) if len(self._sample.evaluations) > 1 else ()
        possible = [
            (*(READ_CREDIT_CELLS if stratum.read else UNREAD_CREDIT_CELLS), *several)
            for stratum in self._sample.strata
        ]
        parsed = wilson_interval(evaluation.correct, evaluation.n)
        reviewed = self._estimate_shares(marked, cells, possible, 5).estimate_corrected(
            parsed.value, up=DENIED, down=CREDITED, whole=READ_CREDIT_CELLS
        )
        assert reviewed is not None, "asked only where the evaluation has marks"
        return ReviewedAccuracy(
            label=evaluation.label, source=evaluation.source, parsed=parsed, reviewed=reviewed
        )

    def _estimate_shares(
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


def _make_matcher_score(
    name: str, readings: StratifiedShares | None, reading: Sequence[int], credit: StratifiedShares
) -> MatcherScore:
    tally = Counter(reading)
    same, read = tally[SAME], tally[SAME] + tally[OTHER] + tally[NONE]
    seen = tally[SAME] + tally[OTHER] + tally[MISSED]
    return MatcherScore(
        matcher=name,
        precision=readings.estimate_ratio((SAME,), (SAME, OTHER, NONE)) if readings else None,
        recall=readings.estimate_ratio((SAME,), (SAME, OTHER, MISSED)) if readings else None,
        precision_counted=wilson_interval(same, read) if read else None,
        recall_counted=wilson_interval(same, seen) if seen else None,
        credited_wrongly=credit.estimate_ratio((CREDITED,), (CREDITED, RIGHT)),
        denied_wrongly=credit.estimate_ratio((DENIED,), (DENIED, RIGHT)),
    )


def _reading_cell(chosen: int | None, choice: Choice) -> int:
    """Return the cell of an item's reading."""
    if chosen is None:
        return {"none": NONE_UNREAD, "unsure": CANNOT_TELL_UNREAD}.get(str(choice), MISSED)
    if chosen == choice:
        return SAME
    return {"none": NONE, "unsure": CANNOT_TELL}.get(str(choice), OTHER)


def _credit_cell(by_matcher: bool, by_reviewer: bool) -> int:
    if by_matcher:
        return RIGHT if by_reviewer else CREDITED
    return DENIED if by_reviewer else NOT_RIGHT


def is_misreading(chosen: int | None, choice: Choice) -> bool:
    """Return whether parser and reviewer differ on an item that is not marked unsure."""
    return _reading_cell(chosen, choice) in (OTHER, NONE, MISSED)


def _confusion_matrix(
    marked: Sequence[DrawnItem], choices: Mapping[str, Choice]
) -> dict[str, dict[str, int]]:
    tally = Counter(_reading_cell(drawn.chosen, choices[drawn.id]) for drawn in marked)
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
