"""BM25 scores of all texts for a query, by bm25s over memory-mapped arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import RetrievalError

K1, B = 1.5, 0.75
"""Saturation of repeated words, and normalisation by length; the defaults of bm25s."""


class Bm25:
    """BM25 (Robertson and Zaragoza 2009, Lucene's variant) over one text per passage."""

    def __init__(self, retriever: Any) -> None:
        self._retriever = retriever

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]]) -> Bm25:
        """Build the scores of texts that are split into words.

        Raises:
            RetrievalError: No text has a word.
        """
        import bm25s

        # Words are numbered in the order of the texts, in 4 bytes each: equal texts give equal
        # files, and the words of all texts are never in memory at once.
        numbers: dict[str, int] = {}
        numbered = [array("i", [numbers.setdefault(w, len(numbers)) for w in t]) for t in texts]
        if not numbers:
            raise RetrievalError(
                "no passage has a word to search for",
                expected="letters or digits, not signs or function words alone",
            )
        retriever = bm25s.BM25(k1=K1, b=B, method="lucene")
        retriever.index((numbered, numbers), show_progress=False)
        return cls(retriever)

    @classmethod
    def open(cls, folder: Path) -> Bm25:
        """Map the arrays of a folder into memory."""
        import bm25s

        return cls(bm25s.BM25.load(folder, mmap=True))

    def save(self, folder: Path) -> None:
        """Write the arrays and the vocabulary to a folder."""
        self._retriever.save(folder, show_progress=False)

    def scores(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Return the score of every text, `[text]`; 0 where no word occurs."""
        ids = self._retriever.get_tokens_ids(words)
        return np.asarray(self._retriever.get_scores_from_ids(ids))
