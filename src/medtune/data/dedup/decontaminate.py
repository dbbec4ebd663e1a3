"""Remove evaluated questions and repetitions from train, with a reason for each.

Evaluated splits are never changed: their overlap is counted and shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from medtune.core.intervals import wilson_interval
from medtune.core.progress import Progress
from medtune.core.records import Question
from medtune.core.schemas.dataset import DuplicateKind, Exclusion, OverlapCount, OverlapExample
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.canonical_form import canonicalize_question, canonicalize_text
from medtune.data.dedup.find_duplicates import Overlap, find_overlap
from medtune.data.dedup.is_duplicate import answers_conflict, text_similarity
from medtune.data.hash_sampling import order_by_hash

EXAMPLES_PER_KIND = 4
"""Number of example pairs for each kind of overlap between two splits."""
CONFLICTING_ANSWERS = "conflicting answers"
EVALUATED_REASONS: dict[DuplicateKind, str] = {
    "exact": "also evaluated",
    "near": "nearly the same is evaluated",
}
REPEATED_REASONS: dict[DuplicateKind, str] = {"exact": "repeated", "near": "nearly repeated"}


@dataclass(frozen=True, slots=True)
class CleanedSource:
    """A cleaned source with its name."""

    source: str
    questions: QuestionTable


@dataclass(frozen=True, slots=True)
class Decontaminated:
    """Train after decontamination, with overlap counts and exclusions."""

    kept: NDArray[np.int64]
    """Indices of the kept train questions, ascending."""
    alike: NDArray[np.int64]
    """Group number of each kept question; duplicates share it."""
    excluded: tuple[Exclusion, ...]
    counts: tuple[OverlapCount, ...]
    examples: tuple[OverlapExample, ...]


def decontaminate(
    train: CleanedSource,
    evaluated: Sequence[CleanedSource],
    near: bool,
    within: bool,
    progress: Progress,
) -> Decontaminated:
    """Count overlap between all sources, and remove it from train.

    A train question is removed if it duplicates an evaluated question, if a duplicate in train has
    a different answer (both are removed), and, with `within`, if it repeats an earlier question
    that is kept.  With `near`, near-duplicates are duplicates, too.
    """
    index = _QuestionIndex([*evaluated, train])
    with progress.task("overlap", len(index.part_of) * (2 if near else 1)) as task:
        questions = chain.from_iterable(part.questions for part in index.parts)
        finder = _DuplicateFinder(index, find_overlap(questions, near, task))
    kept, excluded = _select_kept(finder, within)
    found = {pair: list(finder.find_between(*pair)) for pair in _part_pairs(index.last)}
    start = index.part_range(index.last).start
    return Decontaminated(
        kept=kept - start,
        alike=finder.overlap.duplicate_groups()[kept],
        excluded=tuple(excluded),
        counts=tuple(_count_overlap(index, *pair, some) for pair, some in found.items()),
        examples=tuple(_sample_examples(index, found)),
    )


class _QuestionIndex:
    """Questions of all parts under one index, train last."""

    def __init__(self, parts: Sequence[CleanedSource]) -> None:
        self.parts = parts
        self.last = len(parts) - 1
        sizes = [len(part.questions) for part in parts]
        self._starts = [sum(sizes[:n]) for n in range(len(parts))]
        self.part_of = np.repeat(np.arange(len(parts)), sizes)

    def part_range(self, part: int) -> range:
        start = self._starts[part]
        return range(start, start + len(self.parts[part].questions))

    def question_at(self, place: int) -> Question:
        part = int(self.part_of[place])
        return self.parts[part].questions[place - self._starts[part]]

    def source_at(self, place: int) -> str:
        return self.parts[int(self.part_of[place])].source


@dataclass(frozen=True, slots=True)
class _Duplicate:
    """A duplicate of a question."""

    place: int
    same: DuplicateKind
    conflict: bool
    """Whether their right answers differ."""


class _DuplicateFinder:
    """Lookup of the duplicates of a question in any part."""

    def __init__(self, index: _QuestionIndex, overlap: Overlap) -> None:
        self.index = index
        self.overlap = overlap
        self._first: dict[tuple[int, int], int] = {}
        self._answers: dict[tuple[int, int], dict[str, int]] = {}
        """For classes with several right answers: answer -> index of its first question."""
        keys = zip(overlap.classes.tolist(), index.part_of.tolist(), strict=True)
        for place, key in enumerate(keys):
            self._first.setdefault(key, place)
            if key[0] in overlap.torn and (question := index.question_at(place)).answer is not None:
                answer = canonicalize_text(question.answer_text)
                self._answers.setdefault(key, {}).setdefault(answer, place)

    def find_first(self, place: int, part: int) -> _Duplicate | None:
        """Find the first duplicate of a question in a part; in its own part, an earlier one."""
        number = int(self.overlap.classes[place])
        exact = self._first.get((number, part))
        if exact is not None and exact != place:
            return _Duplicate(
                exact, "exact", self._answers_differ(place, exact, number in self.overlap.torn)
            )
        for near, conflict in self.overlap.linked_classes(number):
            other = self._first.get((near, part))
            if other is not None and (part != self.index.part_of[place] or other < place):
                return _Duplicate(other, "near", self._answers_differ(place, other, conflict))
        return None

    def find_between(self, a: int, b: int) -> Iterator[tuple[int, _Duplicate]]:
        """Yield every question of part a that has a duplicate in part b, with the duplicate."""
        for place in self.index.part_range(a):
            if (twin := self.find_first(place, b)) is not None:
                yield place, twin

    def find_conflicting(self, place: int, part: int) -> int | None:
        """Find a duplicate of a question in a part that has another right answer."""
        number = int(self.overlap.classes[place])
        alike = [(number, number in self.overlap.torn), *self.overlap.linked_classes(number)]
        for other_number, conflict in alike:
            for other in self._first_per_answer(other_number, part):
                if self._answers_differ(place, other, conflict):
                    return other
        return None

    def _first_per_answer(self, number: int, part: int) -> Iterable[int]:
        """Return the first question with each right answer of a class in a part."""
        if number in self.overlap.torn:
            return self._answers.get((number, part), {}).values()
        first = self._first.get((number, part))
        return () if first is None else (first,)

    def _answers_differ(self, a: int, b: int, conflict: bool) -> bool:
        """Return whether two right answers differ; `conflict` is False if their classes agree."""
        if not conflict:
            return False
        return answers_conflict(
            canonicalize_question(self.index.question_at(a)),
            canonicalize_question(self.index.question_at(b)),
        )


def _select_kept(
    finder: _DuplicateFinder, within: bool
) -> tuple[NDArray[np.int64], list[Exclusion]]:
    """Decide for each train question, in order, whether it is kept."""
    index = finder.index
    kept: list[int] = []
    excluded: list[Exclusion] = []
    staying: dict[int, int] = {}  # class -> its first kept question
    for place in index.part_range(index.last):
        number = int(finder.overlap.classes[place])
        near = [other for other, _ in finder.overlap.linked_classes(number) if other in staying]
        if found := _find_evaluated_duplicate(finder, place):
            reason, twin = EVALUATED_REASONS[found.same], found.place
        elif (rival := finder.find_conflicting(place, index.last)) is not None:
            reason, twin = CONFLICTING_ANSWERS, rival
        elif within and number in staying:
            reason, twin = REPEATED_REASONS["exact"], staying[number]
        elif within and near:
            reason, twin = REPEATED_REASONS["near"], staying[near[0]]
        else:
            kept.append(place)
            staying.setdefault(number, place)
            continue
        excluded.append(
            Exclusion(
                source=index.source_at(place),
                id=index.question_at(place).id,
                reason=reason,
                twin=f"{index.source_at(twin)} {index.question_at(twin).id}",
            )
        )
    return np.array(kept, dtype=np.int64), excluded


def _find_evaluated_duplicate(finder: _DuplicateFinder, place: int) -> _Duplicate | None:
    """Find an evaluated duplicate of a train question, an exact one if there is any."""
    found = [
        t for part in range(finder.index.last) if (t := finder.find_first(place, part)) is not None
    ]
    return min(found, key=lambda twin: (twin.same != "exact", twin.place), default=None)


def _part_pairs(last: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of parts to compare: train with each evaluated part, and each with itself."""
    yield from ((last, other) for other in range(last))
    yield from ((other, last) for other in range(last))
    yield from ((part, part) for part in (last, *range(last)))
    yield from combinations(range(last), 2)


def _count_overlap(
    index: _QuestionIndex, a: int, b: int, found: Sequence[tuple[int, _Duplicate]]
) -> OverlapCount:
    return OverlapCount(
        source=index.parts[a].source,
        among=index.parts[b].source,
        exact=sum(twin.same == "exact" for _, twin in found),
        near=sum(twin.same == "near" for _, twin in found),
        conflicts=sum(twin.conflict for _, twin in found),
        share=wilson_interval(len(found), len(index.parts[a].questions)),
    )


def _sample_examples(
    index: _QuestionIndex, found: Mapping[tuple[int, int], Sequence[tuple[int, _Duplicate]]]
) -> Iterator[OverlapExample]:
    """Yield random examples of each kind of duplicate pair with a train question."""
    for part in range(index.last + 1):
        pairs = found[index.last, part]
        kinds = (
            [pair for pair in pairs if pair[1].same == "near" and not pair[1].conflict],
            [pair for pair in pairs if pair[1].conflict],
            [pair for pair in pairs if pair[1].same == "exact" and not pair[1].conflict],
        )
        for some in kinds:
            order = order_by_hash(0, [index.question_at(place).id for place, _ in some])
            yield from (_make_example(index, *some[at]) for at in order[:EXAMPLES_PER_KIND])


def _make_example(index: _QuestionIndex, place: int, twin: _Duplicate) -> OverlapExample:
    question, other = index.question_at(place), index.question_at(twin.place)
    return OverlapExample(
        same=twin.same,
        conflict=twin.conflict,
        similarity=text_similarity(canonicalize_question(question), canonicalize_question(other)),
        source=index.source_at(place),
        question=question,
        among=index.source_at(twin.place),
        twin=other,
    )
