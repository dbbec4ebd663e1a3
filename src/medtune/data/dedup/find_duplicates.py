"""Questions that stand twice: candidates by MinHash LSH, the verdict by `data.dedup.is_duplicate`.

Equal questions (after folding) form a class; classes that are nearly the same are linked.  Both
are found in one pass over all splits together, at a cost that grows with n log n: a question is
compared with the few that share a band of its signature, its stem, or its options and answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medtune.core.progress import ProgressTask
from medtune.core.records import Question
from medtune.data.dedup.canonical_form import CanonicalQuestion, folded
from medtune.data.dedup.is_duplicate import alternatives, answers_conflict, same_question, squeezed
from medtune.data.dedup.minhash_index import MinHashIndex, signatures

BANDS, ROWS = 16, 4
"""Of texts with Jaccard similarity 0.5, 64 % become candidates; with 0.7, 99 %."""
SHINGLE = 5
"""Bytes of folded text in a shingle."""
LEAST_SIMILARITY = 0.3
"""Estimated Jaccard similarity below which no pair of real questions was the same."""
SAME_STEM = 10
"""Questions with the same stem to look at, the latest ones."""
SAME_ANSWER = 50
"""Questions with the same options and right answer to look at, the latest ones."""


@dataclass(frozen=True, slots=True)
class DuplicateLink:
    """Two classes that are nearly the same question; `first < second`."""

    first: int
    second: int
    conflict: bool
    """Whether a right answer of the one differs from one of the other."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Which of some questions are the same, by their place."""

    classes: NDArray[np.int64]
    """Per question the number of its class; classes are numbered by first appearance."""
    links: tuple[DuplicateLink, ...]
    torn: frozenset[int]
    """Classes whose members have different right answers."""
    neighbours: dict[int, list[DuplicateLink]] = field(init=False, default_factory=dict)
    """Per class its links."""

    def __post_init__(self) -> None:
        for link in self.links:
            for end in (link.first, link.second):
                self.neighbours.setdefault(end, []).append(link)

    def near(self, number: int) -> Iterator[tuple[int, bool]]:
        """Yield the classes linked to one, and whether their answers conflict."""
        for link in self.neighbours.get(number, ()):
            yield (link.second if link.first == number else link.first), link.conflict

    def components(self) -> NDArray[np.int64]:
        """Number the groups of questions that hang together through classes and links."""
        count = int(self.classes.max(initial=-1)) + 1
        return components(count, [(link.first, link.second) for link in self.links])[self.classes]


def components(nodes: int, edges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number the connected parts of a graph, `[node]`; which number is which is not promised."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(nodes, nodes))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64)


def find_overlap(
    questions: Iterable[Question], near: bool = True, task: ProgressTask | None = None
) -> Overlap:
    """Find the questions that are the same.

    Args:
        questions: Of all splits, one after the other.
        near: Also near-duplicates; else exact ones only.
        task: A bar that advances by one per question.
    """
    numbers: dict[tuple[str, tuple[str, ...]], int] = {}
    classes: list[int] = []
    forms: list[
        list[CanonicalQuestion]
    ] = []  # per class one for every right answer, or one without any
    for question in questions:
        this = folded(question)
        number = numbers.setdefault((this.stem, this.options), len(numbers))
        classes.append(number)
        if number == len(forms):
            forms.append([this])
        elif forms[number][0].answer is None:
            forms[number] = [this]
        elif this.answer not in (None, *(form.answer for form in forms[number])):
            forms[number].append(this)
        if task:
            task.advance()
    return Overlap(
        np.array(classes, dtype=np.int64),
        tuple(_links(forms, task)) if near else (),
        frozenset(number for number, some in enumerate(forms) if len(some) > 1),
    )


def _links(
    forms: Sequence[Sequence[CanonicalQuestion]], task: ProgressTask | None
) -> Iterator[DuplicateLink]:
    """Compare every class with the earlier ones that look like it."""
    index = MinHashIndex(len(forms), BANDS, ROWS, LEAST_SIMILARITY)
    stems: dict[str, list[int]] = defaultdict(list)
    answered: dict[object, list[int]] = defaultdict(list)
    texts = signatures(_shingles(some[0].text) for some in forms)
    for number, (some, signature) in enumerate(zip(forms, texts, strict=True)):
        alike = stems[squeezed(some[0].stem)]
        keys = {key for form in some if (key := alternatives(form)) is not None}
        others = {n for key in keys for n in answered[key][-SAME_ANSWER:]}
        for other in sorted({*index.closest(signature), *alike[-SAME_STEM:], *others}):
            pairs = [(a, b) for a in forms[other] for b in some if same_question(a, b)]
            if pairs:
                yield DuplicateLink(other, number, any(answers_conflict(a, b) for a, b in pairs))
        alike.append(number)
        for key in keys:
            answered[key].append(number)
        index.insert(number, signature)
        if task:
            task.advance()


def _shingles(text: str) -> list[bytes]:
    data = text.encode("utf-8", "surrogatepass")
    return list({data[at : at + SHINGLE] for at in range(max(1, len(data) - SHINGLE + 1))})
