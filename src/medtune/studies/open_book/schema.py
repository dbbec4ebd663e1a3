"""Records of the open-book study."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medtune.core.records import (
    Method,
    ModelDescription,
    Probability,
    Proportion,
    Provenance,
    Record,
    SplitDescription,
)

PASSAGES = (1, 3, 5)
"""Numbers of passages in a prompt; none is the closed book."""
SHARES: tuple[float, ...] = (10, 100)
"""Shares of the index, per cent."""
PROMPT_KINDS: tuple[Literal["per-option", "shared"], ...] = ("per-option", "shared")


class BookSetting(Record):
    """One way to answer: closed book, passages in the prompt, or the search alone."""

    model: str | None
    """Name of the model; None for the search alone."""
    kind: Literal["closed", "per-option", "shared", "search"]
    passages: int = Field(default=0, ge=0)
    """Passages in the prompt."""
    share: float | None = None
    """Share of the index that is searched, per cent; None for a closed book."""

    @property
    def display_name(self) -> str:
        """Readable name, without the model."""
        if self.kind == "closed":
            return "closed book"
        where = f"{self.share:g} % of the index"
        if self.kind == "search":
            return f"search alone, {where}"
        passages = "1 passage" if self.passages == 1 else f"{self.passages} passages"
        return f"{passages} {'per option' if self.kind == 'per-option' else 'shared'}, {where}"


class SearchedIndex(Record):
    """The search in one share of the index, for the questions of the study."""

    kind: Literal["searched"] = "searched"
    inputs: str
    index: str
    """Hash of the share."""
    passages: int
    excluded: tuple[int, ...]
    """Rows left out, as near-duplicates of the questions."""
    right: tuple[bool, ...]
    """Whether the search answers each question right."""
    similarity: tuple[float, ...]
    """Largest share of words that each stem has in common with a passage's question."""


class PairedGain(Record):
    """A difference of two accuracies on the same questions."""

    value: float
    low: float
    """95 %, Tango's score interval."""
    high: float
    p_value: Probability
    """Exact McNemar, two-sided."""


class BookPoint(Record):
    """Result of one setting."""

    setting: BookSetting
    indexed: int | None
    """Passages that could be found: without those that leak a question; None for a closed book."""
    accuracy: Proportion
    less_similar: Proportion | None
    """Without the tenth of the questions that are most similar to a passage."""
    over_closed: PairedGain | None = None
    """Over the same model by closed book; None for that itself and for the search alone."""
    over_search: PairedGain | None = None
    """Over the search alone, in the same share of the index (a closed book: the largest)."""


class OpenBookRecord(Record):
    """Record of the open-book study."""

    kind: Literal["open-book"] = "open-book"
    models: dict[str, ModelDescription]
    """By name."""
    data: SplitDescription
    n: int
    chance: Probability
    method: Method
    words: int
    """Most words of a passage in the prompt."""
    index: str
    """Hash of the whole index."""
    passages: int
    """Passages of the whole index."""
    shares: dict[float, int]
    """Passages left out of each share, as near-duplicates of the questions."""
    points: tuple[BookPoint, ...]
    verdict: str
    """One sentence."""
    cell_s: float
    """Seconds of all evaluations."""
    provenance: Provenance
