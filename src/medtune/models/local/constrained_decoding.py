"""Constrain generation to a few answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Choices:
    """The allowed answers as token ids, each with the end-of-turn token."""

    answers: tuple[tuple[int, ...], ...]

    @classmethod
    def from_ids(cls, texts: Sequence[Sequence[int]], end: int) -> Self:
        """Append the end-of-turn token to encoded answers."""
        return cls(tuple((*ids, end) for ids in texts))

    @property
    def max_length(self) -> int:
        """Number of tokens of the longest answer, including the end-of-turn token."""
        return max(map(len, self.answers))

    def next_tokens(self, written: Sequence[int]) -> list[int]:
        """Return the tokens allowed next; after a complete answer only the end-of-turn token."""
        start = tuple(written)
        at = len(start)
        following = {a[at] for a in self.answers if len(a) > at and a[:at] == start}
        return sorted(following) or [self.answers[0][-1]]


def allowed_tokens(choices: Choices | None, written: Sequence[int], vocabulary: int) -> list[int]:
    """Return the tokens allowed next; the whole vocabulary for an unconstrained answer."""
    return list(range(vocabulary)) if choices is None else choices.next_tokens(written)
