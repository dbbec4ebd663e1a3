"""Train kept apart from what is evaluated, and from its own repetitions, with a reason for each.

Nothing is ever removed from an evaluated split: its overlap is counted and shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from medtune.core.intervals import wilson
from medtune.core.progress import Progress
from medtune.core.records import Question
from medtune.core.schemas.dataset import Exclusion, OverlapCount, OverlapExample, Same
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.canonical_form import fold, folded
from medtune.data.dedup.find_duplicates import Overlap, find_overlap
from medtune.data.dedup.is_duplicate import answers_conflict, similarity
from medtune.data.hash_sampling import lowest

EXAMPLES = 4
"""Pairs to show for each kind of overlap between two splits."""
CONFLICTING = "conflicting answers"
EVALUATED: dict[Same, str] = {"exact": "also evaluated", "near": "nearly the same is evaluated"}
REPEATED: dict[Same, str] = {"exact": "repeated", "near": "nearly repeated"}


@dataclass(frozen=True, slots=True)
class CleanedSource:
    """A cleaned source."""

    source: str
    questions: QuestionTable


@dataclass(frozen=True, slots=True)
class Decontaminated:
    """What is left of train."""

    kept: NDArray[np.int64]
    """Places in train, ascending."""
    alike: NDArray[np.int64]
    """Per kept question a number that it shares with those it hangs together with."""
    excluded: tuple[Exclusion, ...]
    counts: tuple[OverlapCount, ...]
    examples: tuple[OverlapExample, ...]


def separate(
    train: CleanedSource,
    evaluated: Sequence[CleanedSource],
    near: bool,
    within: bool,
    progress: Progress,
) -> Decontaminated:
    """Find overlap everywhere, and remove it from train only.

    A train question goes where it is the same as an evaluated one, where another one is the same
    with a different answer (nobody knows which is right, so both go), and, with `within`, where
    it repeats an earlier one that stays.

    Args:
        train: The train source.
        evaluated: What must stay as it is.
        near: Also near-duplicates.
        within: Also repetitions inside train.
        progress: Where to report.
    """
    row = _Row([*evaluated, train])
    with progress.task("overlap", len(row.part_of) * (2 if near else 1)) as task:
        questions = chain.from_iterable(part.questions for part in row.parts)
        twins = _Twins(row, find_overlap(questions, near, task))
    kept, excluded = _kept(twins, within)
    found = {pair: list(twins.between(*pair)) for pair in _pairs(row.last)}
    start = row.places(row.last).start
    return Decontaminated(
        kept=kept - start,
        alike=twins.overlap.components()[kept],
        excluded=tuple(excluded),
        counts=tuple(_count(row, *pair, some) for pair, some in found.items()),
        examples=tuple(_examples(row, found)),
    )


class _Row:
    """All questions in one row, part after part, train last."""

    def __init__(self, parts: Sequence[CleanedSource]) -> None:
        self.parts = parts
        self.last = len(parts) - 1
        sizes = [len(part.questions) for part in parts]
        self._starts = [sum(sizes[:n]) for n in range(len(parts))]
        self.part_of = np.repeat(np.arange(len(parts)), sizes)

    def places(self, part: int) -> range:
        start = self._starts[part]
        return range(start, start + len(self.parts[part].questions))

    def question(self, place: int) -> Question:
        part = int(self.part_of[place])
        return self.parts[part].questions[place - self._starts[part]]

    def source(self, place: int) -> str:
        return self.parts[int(self.part_of[place])].source


@dataclass(frozen=True, slots=True)
class _Twin:
    """A question that is the same as another."""

    place: int
    same: Same
    conflict: bool
    """Whether their right answers differ."""


class _Twins:
    """Finds the like of a question, in any part."""

    def __init__(self, row: _Row, overlap: Overlap) -> None:
        self.row = row
        self.overlap = overlap
        self._first: dict[tuple[int, int], int] = {}
        self._answers: dict[tuple[int, int], dict[str, int]] = {}
        """Only for classes with several right answers: answer -> its first question."""
        for place, (number, part) in enumerate(zip(overlap.classes, row.part_of, strict=True)):
            key = int(number), int(part)
            self._first.setdefault(key, place)
            if int(number) in overlap.torn and (answer := self._answer(place)) is not None:
                self._answers.setdefault(key, {}).setdefault(answer, place)

    def first(self, place: int, part: int) -> _Twin | None:
        """Find the first like of a question in a part; in its own part, an earlier one."""
        number = int(self.overlap.classes[place])
        exact = self._first.get((number, part))
        if exact is not None and exact != place:
            return _Twin(exact, "exact", self._disagree(place, exact, number in self.overlap.torn))
        for near, conflict in self.overlap.near(number):
            other = self._first.get((near, part))
            if other is not None and (part != self.row.part_of[place] or other < place):
                return _Twin(other, "near", self._disagree(place, other, conflict))
        return None

    def between(self, a: int, b: int) -> Iterator[tuple[int, _Twin]]:
        """Yield every question of one part that has its like in another, with that."""
        for place in self.row.places(a):
            if (twin := self.first(place, b)) is not None:
                yield place, twin

    def rival(self, place: int, part: int) -> int | None:
        """Find a like of a question in a part that has another right answer."""
        number = int(self.overlap.classes[place])
        alike = [(number, number in self.overlap.torn), *self.overlap.near(number)]
        for other_number, conflict in alike:
            for other in self._answered(other_number, part):
                if self._disagree(place, other, conflict):
                    return other
        return None

    def _answered(self, number: int, part: int) -> Iterable[int]:
        """List the questions of a class in a part: the first one with each right answer."""
        if number in self.overlap.torn:
            return self._answers.get((number, part), {}).values()
        first = self._first.get((number, part))
        return () if first is None else (first,)

    def _disagree(self, a: int, b: int, conflict: bool) -> bool:
        """Compare two right answers; their classes tell whether there can be a conflict."""
        if not conflict:
            return False
        return answers_conflict(folded(self.row.question(a)), folded(self.row.question(b)))

    def _answer(self, place: int) -> str | None:
        question = self.row.question(place)
        return None if question.answer is None else fold(question.answer_text)


def _kept(twins: _Twins, within: bool) -> tuple[NDArray[np.int64], list[Exclusion]]:
    """Walk through train in order and decide."""
    row = twins.row
    kept: list[int] = []
    excluded: list[Exclusion] = []
    staying: dict[int, int] = {}  # class -> its first question that stays
    for place in row.places(row.last):
        number = int(twins.overlap.classes[place])
        if found := _evaluated(twins, place):
            reason, twin = EVALUATED[found.same], found.place
        elif (rival := twins.rival(place, row.last)) is not None:
            reason, twin = CONFLICTING, rival
        elif within and number in staying:
            reason, twin = REPEATED["exact"], staying[number]
        elif within and (near := _staying(twins.overlap, number, staying)) is not None:
            reason, twin = REPEATED["near"], near
        else:
            kept.append(place)
            staying.setdefault(number, place)
            continue
        excluded.append(
            Exclusion(
                source=row.source(place),
                id=row.question(place).id,
                reason=reason,
                twin=f"{row.source(twin)} {row.question(twin).id}",
            )
        )
    return np.array(kept, dtype=np.int64), excluded


def _evaluated(twins: _Twins, place: int) -> _Twin | None:
    """Find an evaluated like of a train question, an exact one if there is any."""
    found = [t for part in range(twins.row.last) if (t := twins.first(place, part)) is not None]
    return min(found, key=lambda twin: (twin.same != "exact", twin.place), default=None)


def _staying(overlap: Overlap, number: int, staying: dict[int, int]) -> int | None:
    return next((staying[near] for near, _ in overlap.near(number) if near in staying), None)


def _pairs(last: int) -> Iterator[tuple[int, int]]:
    """List the parts to compare: train and every evaluated one, both ways, and inside each."""
    yield from ((last, other) for other in range(last))
    yield from ((other, last) for other in range(last))
    yield from ((part, part) for part in (last, *range(last)))
    yield from combinations(range(last), 2)


def _count(row: _Row, a: int, b: int, found: Sequence[tuple[int, _Twin]]) -> OverlapCount:
    return OverlapCount(
        source=row.parts[a].source,
        among=row.parts[b].source,
        exact=sum(twin.same == "exact" for _, twin in found),
        near=sum(twin.same == "near" for _, twin in found),
        conflicts=sum(twin.conflict for _, twin in found),
        share=wilson(len(found), len(row.parts[a].questions)),
    )


def _examples(
    row: _Row, found: Mapping[tuple[int, int], Sequence[tuple[int, _Twin]]]
) -> Iterator[OverlapExample]:
    """Show train questions beside their like, some of each kind, drawn by lot."""
    for part in range(row.last + 1):
        pairs = found[row.last, part]
        kinds = (
            [pair for pair in pairs if pair[1].same == "near" and not pair[1].conflict],
            [pair for pair in pairs if pair[1].conflict],
            [pair for pair in pairs if pair[1].same == "exact" and not pair[1].conflict],
        )
        for some in kinds:
            order = lowest(0, [row.question(place).id for place, _ in some])
            yield from (_example(row, *some[at]) for at in order[:EXAMPLES])


def _example(row: _Row, place: int, twin: _Twin) -> OverlapExample:
    question, other = row.question(place), row.question(twin.place)
    return OverlapExample(
        same=twin.same,
        conflict=twin.conflict,
        similarity=similarity(folded(question), folded(other)),
        source=row.source(place),
        question=question,
        among=row.source(twin.place),
        twin=other,
    )
