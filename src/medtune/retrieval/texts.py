"""Cut texts into passages."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PARAGRAPHS = re.compile(r"\n\s*\n")
_SENTENCES = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)\]]))\s+(?=[^\sa-z])|(?<=[。！？])")


def cut_text(text: str, words: int, title: str | None = None) -> list[str]:
    """Cut a text into pieces of at most so many words, at the ends of paragraphs.

    A paragraph that is too long is cut at the ends of sentences, a sentence that is too long
    between words.  Every piece begins with the title, if there is one, which counts as well: of a
    title longer than half a piece, the end.
    """
    head = (title or "").split()[-(words // 2) :] if title and words > 1 else []
    most = words - len(head)
    pieces: list[list[str]] = []
    room = 0
    for paragraph in _PARAGRAPHS.split(text):
        separator = "\n"
        for part, count in _cut_paragraph(paragraph, most):
            if pieces and count <= room:
                pieces[-1] += (separator, part)
            else:
                pieces.append([" ".join(head), "\n", part] if head else [part])
                room = most
            room -= count
            separator = " "
    return ["".join(piece) for piece in pieces]


def _cut_paragraph(paragraph: str, most: int) -> Iterator[tuple[str, int]]:
    """Yield a paragraph in parts of at most so many words, each with its number of words."""
    whole = paragraph.split()
    sentences = [whole]
    if len(whole) > most:
        sentences = [part.split() for part in _SENTENCES.split(paragraph)]
    for words in sentences:
        for start in range(0, len(words), most):
            part = words[start : start + most]
            yield " ".join(part), len(part)
