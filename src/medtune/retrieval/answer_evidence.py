"""Find the passages that are shown with an answer, and mark the words that matched."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medtune.core.negation import is_negated
from medtune.core.records import normalize_option
from medtune.core.schemas.guardrails import AnswerEvidence, EvidencePassage
from medtune.retrieval.evidence import ELLIPSIS, render_passage
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.option_features import TOP
from medtune.retrieval.schema import Passage
from medtune.retrieval.words import WordSplitter, load_splitter, share_found

MAX_PASSAGES = 3
"""Most passages shown with an answer."""
MAX_LENGTH = 800
"""Most characters of a passage that are shown."""
MAX_STEM_LENGTH = 2000
"""Most characters of a stem that are searched, from its end, where the question stands."""
MARK_STEMMER = "english"
"""Stemmer by which matched words are marked; the search itself uses the index's."""
_WORD = re.compile(r"(\w+)")


def find_answer_evidence(
    index: PassageIndex, stem: str, options: Sequence[str], chosen: int
) -> AnswerEvidence:
    """Find the best passages for the stem with the chosen option.

    Where the right answer of some is this option, only these are shown, the best match first.

    Args:
        index: The index.
        stem: The question without its options.
        options: Texts of the options.
        chosen: Index of the chosen option.
    """
    splitter, stem = load_splitter(index.manifest.stemmer), stem[-MAX_STEM_LENGTH:]
    queries = [f"{stem} {option}" for option in options]
    found = [
        [(hit.score, index.passage(hit.place)) for hit in hits]
        for hits in index.search(queries, TOP)
    ]
    matches = [
        [passage_match(passage, stem, option, splitter) for _, passage in hits]
        for option, hits in zip(options, found, strict=True)
    ]
    best = sorted(
        zip(matches[chosen], found[chosen], strict=True), key=lambda one: one[0], reverse=True
    )
    shown = [hit for match, hit in best if match > 0] or [hit for _, hit in best]
    return AnswerEvidence(
        passages=tuple(_show(*hit) for hit in shown[:MAX_PASSAGES]),
        match=max(matches[chosen], default=0.0),
        rival=max((m for i, row in enumerate(matches) if i != chosen for m in row), default=0.0),
    )


def passage_match(passage: Passage, stem: str, option: str, splitter: WordSplitter) -> float:
    """Return how nearly a passage is the question, from 0 to 1.

    The harmonic mean of two shares of distinct words: those of the stem that occur in the passage's
    question and right answer, and those of its question that occur in stem and option. 0 unless
    its right answer is the option and both questions are negated, or neither is.
    """
    if passage.question is None or passage.answer is None:
        return 0.0
    if normalize_option(passage.answer) != normalize_option(option):
        return 0.0
    if is_negated(passage.question) != is_negated(stem):
        return 0.0
    asked, theirs = set(splitter.split(stem)), set(splitter.split(passage.question))
    covered = share_found(asked, theirs.union(splitter.split(passage.answer)))
    shared = share_found(theirs, asked.union(splitter.split(option)))
    return 2 * covered * shared / (covered + shared) if covered else 0.0


def split_matches(text: str, query: str) -> list[tuple[str, bool]]:
    """Split a text into pieces, and tell of each whether it is a word that the query has."""
    splitter = load_splitter(MARK_STEMMER)
    wanted = set(splitter.split(query))
    pieces: list[tuple[str, bool]] = []
    for piece in _WORD.split(text):
        matched = not wanted.isdisjoint(splitter.split(piece))
        if pieces and not matched and not pieces[-1][1]:
            pieces[-1] = (pieces[-1][0] + piece, False)
        elif piece:
            pieces.append((piece, matched))
    return pieces


def _show(score: float, passage: Passage) -> EvidencePassage:
    text = render_passage(passage)
    if len(text) > MAX_LENGTH:
        text = text[:MAX_LENGTH].rsplit(" ", 1)[0] + ELLIPSIS
    return EvidencePassage(
        id=passage.id, text=text, source=passage.source, licence=passage.licence, score=score
    )
