"""Score matchers on the sampled outputs by one reviewer's marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medtune.core.intervals import wilson_interval
from medtune.spotcheck.schema import (
    Choice,
    CorrectedAccuracy,
    DrawnItem,
    MatcherScore,
    ReviewerScore,
    SpotCheckItem,
    SpotCheckSample,
)
from medtune.spotcheck.stratified import StratifiedShares

SAME, OTHER, NONE, CANNOT_TELL, MISSED, NONE_UNREAD, CANNOT_TELL_UNREAD = range(7)
"""Cells of the parser's reading against the reviewer's mark: four if the parser read an option,
three if it read none."""
NUM_CELLS = 7
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
    choose: Callable[[SpotCheckItem], int | None] | None
    """Returns the option read; None for a matcher that only decides correctness."""
    correct: Callable[[SpotCheckItem, int], bool]
    """Returns whether the item is correct, given the right option."""


@dataclass(frozen=True)
class ReviewerMarks:
    """A sample with the marks of one reviewer.

    Attributes:
        sample: The sample.
        items: Its blind items by id.
        marked: Hidden data of the items that the reviewer marked.
        choices: The reviewer's choices by item.
    """

    sample: SpotCheckSample
    items: Mapping[str, SpotCheckItem]
    marked: Sequence[DrawnItem]
    choices: Mapping[str, Choice]

    def score(self, reviewer: str, matchers: Sequence[Matcher]) -> ReviewerScore:
        """Score the parser, other matchers and the accuracies by the marks."""
        tally = Counter(self.choices.values())
        return ReviewerScore(
            reviewer=reviewer,
            marked=len(self.marked),
            none=tally["none"],
            unsure=tally["unsure"],
            confusion=self._confusion_matrix(),
            matchers=(self._score_parser(), *map(self._score_matcher, matchers)),
            accuracy=tuple(
                self._correct_accuracy(index)
                for index in sorted({drawn.evaluation for drawn in self.marked})
            ),
        )

    def _score_parser(self) -> MatcherScore:
        """Score the parser version of the sample; its reading is constant within a stratum."""
        reading = self._parser_readings()
        possible = [READ_CELLS if s.read else UNREAD_CELLS for s in self.sample.strata]
        return _make_matcher_score(
            f"parser version {self.sample.parser}, as evaluated",
            self._estimate_shares(reading, possible),
            reading,
            self._estimate_shares(self._parser_credits(), self._possible_credits()),
        )

    def _score_matcher(self, matcher: Matcher) -> MatcherScore:
        readings, reading = None, []
        if choose := matcher.choose:
            reading = [
                _reading_cell(choose(self.items[drawn.id]), self.choices[drawn.id])
                for drawn in self.marked
            ]
            readings = self._estimate_shares(reading, [range(7)] * len(self.sample.strata))
        credit = [
            _credit_cell(
                matcher.correct(self.items[drawn.id], drawn.answer),
                self.choices[drawn.id] == drawn.answer,
            )
            for drawn in self.marked
        ]
        possible = [READ_CREDIT_CELLS] * len(self.sample.strata)
        return _make_matcher_score(
            matcher.name, readings, reading, self._estimate_shares(credit, possible)
        )

    def _correct_accuracy(self, index: int) -> CorrectedAccuracy:
        """Correct the accuracy of one evaluation by the marks."""
        evaluation = self.sample.evaluations[index]
        cells = [
            cell if drawn.evaluation == index else ELSEWHERE
            for drawn, cell in zip(self.marked, self._parser_credits(), strict=True)
        ]
        several = (ELSEWHERE,) if len(self.sample.evaluations) > 1 else ()
        possible = [(*cells, *several) for cells in self._possible_credits()]
        parsed = wilson_interval(evaluation.correct, evaluation.n)
        reviewed = self._estimate_shares(cells, possible).estimate_corrected(
            parsed.value, up=DENIED, down=CREDITED, whole=READ_CREDIT_CELLS
        )
        assert reviewed is not None, "asked only where the evaluation has marks"
        return CorrectedAccuracy(
            label=evaluation.label, source=evaluation.source, parsed=parsed, reviewed=reviewed
        )

    def _parser_readings(self) -> list[int]:
        return [_reading_cell(drawn.chosen, self.choices[drawn.id]) for drawn in self.marked]

    def _parser_credits(self) -> list[int]:
        return [
            _credit_cell(drawn.chosen == drawn.answer, self.choices[drawn.id] == drawn.answer)
            for drawn in self.marked
        ]

    def _possible_credits(self) -> list[tuple[int, ...]]:
        return [READ_CREDIT_CELLS if s.read else UNREAD_CREDIT_CELLS for s in self.sample.strata]

    def _confusion_matrix(self) -> dict[str, dict[str, int]]:
        tally = Counter(self._parser_readings())
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

    def _estimate_shares(
        self, cells: Sequence[int], possible: Sequence[Sequence[int]]
    ) -> StratifiedShares:
        by_stratum: list[list[int]] = [[] for _ in self.sample.strata]
        for drawn, cell in zip(self.marked, cells, strict=True):
            by_stratum[drawn.stratum].append(cell)
        sizes = [stratum.size for stratum in self.sample.strata]
        return StratifiedShares(sizes, by_stratum, possible, NUM_CELLS)


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
