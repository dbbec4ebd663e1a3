"""Generation that can write nothing but one of a few answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Choices:
    """The answers that may be given, as token ids, each closed by the end of the turn."""

    answers: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], end: int) -> Self:
        """Close encoded answers."""
        return cls(tuple((*ids, end) for ids in texts))

    @property
    def longest(self) -> int:
        """Tokens of the longest answer, its end included."""
        return max(map(len, self.answers))

    def after(self, written: Sequence[int]) -> list[int]:
        """List the tokens that may follow what is written; the end alone once all is written."""
        start = tuple(written)
        at = len(start)
        following = {a[at] for a in self.answers if len(a) > at and a[:at] == start}
        return sorted(following) or [self.answers[0][-1]]


def allowed_after(choices: Choices | None, written: Sequence[int], vocabulary: int) -> list[int]:
    """List the tokens that may follow; all of them for an answer that is free."""
    return list(range(vocabulary)) if choices is None else choices.after(written)
