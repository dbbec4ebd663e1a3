"""Find duplicate questions: candidates by MinHash LSH, decided by `data.dedup.is_duplicate`.

Questions with equal canonical forms are a class; near-duplicate classes are linked.  Both are
found in one pass over all splits together, at a cost of about n log n: a question is compared
only with those that share a band of its signature, its stem, or its options and answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medtune.core.progress import ProgressTask
from medtune.core.records import Question
from medtune.data.dedup.canonical_form import CanonicalQuestion, canonicalize_question
from medtune.data.dedup.is_duplicate import (
    answer_and_options,
    answers_conflict,
    duplicate_kind,
    remove_spaces,
)
from medtune.data.dedup.minhash_index import MinHashIndex, compute_signatures

BANDS, ROWS = 16, 4
"""LSH parameters: of texts with Jaccard similarity 0.5, 64 % become candidates; of 0.7, 99 %."""
SHINGLE_BYTES = 5
"""Bytes of canonical text in a shingle."""
MIN_JACCARD = 0.3
"""Least estimated Jaccard similarity; below it no pair of real questions was a duplicate."""
MAX_SAME_STEM = 10
"""Number of latest questions with the same stem to compare."""
MAX_SAME_ANSWER = 50
"""Number of latest questions with the same options and right answer to compare."""


class DuplicateLink(NamedTuple):
    """Link between two near-duplicate classes; `first < second`."""

    first: int
    second: int
    conflict: bool
    """Whether a right answer of one class differs from one of the other."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Duplicates among a sequence of questions, by index."""

    classes: NDArray[np.int64]
    """Class number of each question; classes are numbered by first appearance."""
    links: tuple[DuplicateLink, ...]
    torn: frozenset[int]
    """Classes whose members have different right answers."""
    _linked: dict[int, list[tuple[int, bool]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for first, second, conflict in self.links:
            self._linked.setdefault(first, []).append((second, conflict))
            self._linked.setdefault(second, []).append((first, conflict))

    def linked_classes(self, number: int) -> Sequence[tuple[int, bool]]:
        """Return the classes linked to a class, and whether their answers conflict."""
        return self._linked.get(number, ())

    def duplicate_groups(self) -> NDArray[np.int64]:
        """Return a group number per question; groups are connected through classes and links."""
        count = int(self.classes.max(initial=-1)) + 1
        return label_connected_components(count, [link[:2] for link in self.links])[self.classes]


def label_connected_components(nodes: int, edges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the component label of each node of a graph, `[node]`; label values are arbitrary."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(nodes, nodes))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64)


def find_overlap(
    questions: Iterable[Question], near: bool = True, task: ProgressTask | None = None
) -> Overlap:
    """Find exact and, with `near`, near-duplicates among the questions of all splits."""
    numbers: dict[tuple[str, tuple[str, ...]], int] = {}
    classes: list[int] = []
    # Per class one form for every right answer, or one without an answer.
    forms: list[list[CanonicalQuestion]] = []
    for question in questions:
        this = canonicalize_question(question)
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
        tuple(_find_links(forms, task)) if near else (),
        frozenset(number for number, some in enumerate(forms) if len(some) > 1),
    )


def _find_links(
    forms: Sequence[Sequence[CanonicalQuestion]], task: ProgressTask | None
) -> Iterator[DuplicateLink]:
    """Compare every class with similar earlier classes and yield the links."""
    index = MinHashIndex(len(forms), BANDS, ROWS, MIN_JACCARD)
    stems: dict[str, list[int]] = defaultdict(list)
    answered: dict[object, list[int]] = defaultdict(list)
    texts = compute_signatures(_shingles(some[0].full_text) for some in forms)
    for number, (some, signature) in enumerate(zip(forms, texts, strict=True)):
        alike = stems[remove_spaces(some[0].stem)]
        keys = {key for form in some if (key := answer_and_options(form)) is not None}
        others = {n for key in keys for n in answered[key][-MAX_SAME_ANSWER:]}
        for other in sorted({*index.find_similar(signature), *alike[-MAX_SAME_STEM:], *others}):
            pairs = [(a, b) for a in forms[other] for b in some if duplicate_kind(a, b)]
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
    return list(
        {data[at : at + SHINGLE_BYTES] for at in range(max(1, len(data) - SHINGLE_BYTES + 1))}
    )
