from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from medtune.core.progress import NoProgress
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.schema import Passage, PassageSource

Build = Callable[..., FolderIndex]


def make_sources(passages: Sequence[Passage]) -> list[PassageSource]:
    return [PassageSource(source="notes", licence="CC0-1.0", passages=len(passages))]


def of_text(text: str, name: str = "a") -> Passage:
    return Passage(id=name, text=text, source="notes.md")


def of_question(stem: str, answer: str, text: str = "", name: str = "q") -> Passage:
    return Passage(
        id=name,
        text=text,
        question=stem,
        answer=answer,
        options=(answer, "another"),
        source="bank",
    )


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build an index of passages, or of texts."""

    def make(
        *passages: Passage | str, folder: Path = tmp_path / "index", stemmer: str = "english"
    ) -> FolderIndex:
        made = [
            of_text(passage, str(n)) if isinstance(passage, str) else passage
            for n, passage in enumerate(passages)
        ]
        return build_index(made, make_sources(made), folder, stemmer, NoProgress())

    return make
