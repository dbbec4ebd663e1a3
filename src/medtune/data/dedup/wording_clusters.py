"""Clusters of like wording, looser than duplicates: "which drug causes X" in forty variants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medtune.core.records import Question
from medtune.data.cleaning.exam_tags import without_tags
from medtune.data.dedup.canonical_form import fold
from medtune.data.dedup.minhash_index import MinHashIndex, signatures

BANDS, ROWS = 21, 3
LEAST_SIMILARITY = 0.35
_COMMON = frozenset(
    (
        "a an the is are was were be of in on at to for by with from and or which what who that "
        "this these following one all it its as has have not except true false most seen about"
    ).split()
)


def wording_ranks(questions: Sequence[Question], order: Sequence[int]) -> list[int]:
    """Rank every question inside its cluster of like wording: 0 for the first one.

    Leader clustering (Hartigan 1975, chapter 3): in the order given, a question joins the most
    similar leader, or becomes one.  Similarity is that of the words of stem and right answer.

    Args:
        questions: All of them.
        order: Places in the order in which they may lead.

    Returns:
        Per question its rank; taking low ranks first takes from as many clusters as there are.
    """
    index = MinHashIndex(len(questions), BANDS, ROWS, LEAST_SIMILARITY)
    sizes: Counter[int] = Counter()
    ranks = [0] * len(questions)
    for place, signature in zip(
        order, signatures(_words(questions[place]) for place in order), strict=True
    ):
        leaders = index.closest(signature)
        leader = leaders[0] if leaders else place
        if leader == place:
            index.insert(place, signature)
        ranks[place] = sizes[leader]
        sizes[leader] += 1
    return ranks


def _words(question: Question) -> list[bytes]:
    right = "" if question.answer is None else question.answer_text
    words = set(fold(f"{without_tags(question.stem)} {right}").split())
    # Sorted: the order of a set changes from process to process.
    return [word.encode() for word in sorted(words - _COMMON) or sorted(words)]
