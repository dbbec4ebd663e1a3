"""Sequences that share beginnings, laid side by side so that nothing is read twice.

A prompt and its continuations share the prompt; the orders of one question's options share the
stem.  In a depth-first layout the tokens that follow one another on some path are those inside its
subtree, so that one number per token, where its subtree ends, is all that attention must know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medtune.core.token_batching import common_length


@dataclass(frozen=True, slots=True)
class ScoredSequence:
    """A sequence of which some tokens are to be scored."""

    tokens: list[int]
    """The last one is a target only: nothing that it predicts is wanted, so it is not read."""
    first: int
    """Index of the first token to be scored; all that follow are too."""


@dataclass(frozen=True, slots=True)
class TokenTrie:
    """Sequences laid side by side, what they share once."""

    tokens: list[int]
    ends: list[int]
    """`[token]`: where its subtree ends; later tokens before that have it among their past."""
    places: list[int]
    """`[token]`: its position in its own sequence."""
    terms: list[list[tuple[int, int]]]
    """Per sequence: (index into tokens, token that should follow there)."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def bare(self) -> bool:
        """One path, no branches: plain causal attention is right."""
        return min(self.ends) == len(self.tokens)

    @classmethod
    def grow(cls, sequences: Sequence[ScoredSequence], skip: int = 0) -> TokenTrie:
        """Lay out a trie.

        Args:
            sequences: At least one; of each, at least one token before the first scored.
            skip: Tokens with which all begin and that are read elsewhere (`Prefix`).
        """
        tokens: list[int] = []
        ends: list[int] = []
        places: list[int] = []
        terms: list[list[tuple[int, int]]] = [[] for _ in sequences]
        path: list[int] = []  # indices of the sequence laid last
        before: list[int] = []  # its tokens
        # In lexicographic order a sequence shares most with the one before it.
        for index in sorted(range(len(sequences)), key=lambda i: sequences[i].tokens):
            sequence = sequences[index]
            read = sequence.tokens[skip:-1]
            shared = common_length(before, read)
            for closed in path[shared:]:
                ends[closed] = len(tokens)
            path = [*path[:shared], *range(len(tokens), len(tokens) + len(read) - shared)]
            tokens += read[shared:]
            places += range(shared, len(read))
            ends += [0] * (len(read) - shared)
            before = read
            terms[index] = [
                (path[j - 1 - skip], sequence.tokens[j])
                for j in range(sequence.first, len(sequence.tokens))
            ]
        for closed in path:
            ends[closed] = len(tokens)
        return cls(tokens, ends, places, terms)
