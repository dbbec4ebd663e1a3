"""Small passage indexes for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import Passage, PassageSource


def index_of(folder: Path, passages: Iterable[Passage | Question]) -> FolderIndex:
    """Build an index of passages, and of questions that become passages."""
    made = [
        passage
        for one in passages
        for passage in (
            [one] if isinstance(one, Passage) else passages_from_questions([one], "made up", None)
        )
    ]
    source = PassageSource(source="made up", licence=None, passages=len(made))
    return build_index(made, [source], folder, "english", NoProgress())


def text_passage(name: str, words: str) -> Passage:
    """Make a passage of a text."""
    return Passage(id=name, text=words, source="made up")
