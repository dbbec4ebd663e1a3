"""Clusters of similar wording, looser than duplicates: "which drug causes X" in many variants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medtune.core.records import Question
from medtune.data.cleaning.exam_tags import strip_exam_tags
from medtune.data.dedup.canonical_form import canonicalize_text
from medtune.data.dedup.minhash_index import MinHashIndex, compute_signatures

BANDS, ROWS = 21, 3
MIN_WORDING_SIMILARITY = 0.35
_COMMON_WORDS = frozenset(
    (
        "a an the is are was were be of in on at to for by with from and or which what who that "
        "this these following one all it its as has have not except true false most seen about"
    ).split()
)


def rank_in_wording_clusters(questions: Sequence[Question], order: Sequence[int]) -> list[int]:
    """Return the rank of every question in its cluster of similar wording; the first has rank 0.

    Leader clustering (Hartigan 1975, chapter 3): in the given order, a question joins the most
    similar leader, or becomes a leader.  Similarity covers the words of stem and right answer.

    Returns:
        The rank of each question; taking low ranks first draws from as many clusters as possible.
    """
    index = MinHashIndex(len(questions), BANDS, ROWS, MIN_WORDING_SIMILARITY)
    sizes: Counter[int] = Counter()
    ranks = [0] * len(questions)
    for place, signature in zip(
        order, compute_signatures(_content_words(questions[place]) for place in order), strict=True
    ):
        leaders = index.find_similar(signature)
        leader = leaders[0] if leaders else place
        if leader == place:
            index.insert(place, signature)
        ranks[place] = sizes[leader]
        sizes[leader] += 1
    return ranks


def _content_words(question: Question) -> list[bytes]:
    right = "" if question.answer is None else question.answer_text
    words = set(canonicalize_text(f"{strip_exam_tags(question.stem)} {right}").split())
    # Sorted, because the order of a set differs between processes.
    return [word.encode() for word in sorted(words - _COMMON_WORDS) or sorted(words)]
