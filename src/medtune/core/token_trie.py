"""Lay out sequences with shared prefixes as a trie, so that no token is computed twice.

The continuations of a prompt share the prompt; the orders of one question's options share the stem.
The layout is depth-first, so the descendants of a token are those before the end of its subtree:
attention needs only that one number per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medtune.core.token_batching import common_prefix_length


@dataclass(frozen=True, slots=True)
class ScoredSequence:
    """A sequence of tokens with the part to score."""

    tokens: tuple[int, ...]
    """The last token is only a target: it is not an input of the forward pass."""
    first: int
    """Index of the first scored token; all later ones are scored too."""
    prompt: int = 0
    """Number of prompt tokens, for the audit of what is supervised."""


@dataclass(frozen=True, slots=True)
class TokenTrie:
    """Sequences in one row, their shared prefixes once."""

    tokens: list[int]
    ends: list[int]
    """`[token]`: end of its subtree; later tokens before that end attend to it."""
    places: list[int]
    """`[token]`: its position in its own sequence."""
    terms: list[list[tuple[int, int]]]
    """For each sequence: (index into tokens, token to score after it)."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_single_path(self) -> bool:
        """Whether there are no branches, so that plain causal attention is right."""
        return min(self.ends) == len(self.tokens)

    @classmethod
    def from_sequences(cls, sequences: Sequence[ScoredSequence], skip: int = 0) -> TokenTrie:
        """Build a trie.

        Args:
            sequences: At least one, each with at least one token before the first scored.
            skip: Length of the shared prefix that is cached (`CachedPrefix`).
        """
        tokens: list[int] = []
        ends: list[int] = []
        places: list[int] = []
        terms: list[list[tuple[int, int]]] = [[] for _ in sequences]
        path: list[int] = []  # token indices of the previous sequence
        before: tuple[int, ...] = ()  # its tokens
        # In lexicographic order a sequence has its longest shared prefix with the previous one.
        for index in sorted(range(len(sequences)), key=lambda i: sequences[i].tokens):
            sequence = sequences[index]
            read = sequence.tokens[skip:-1]
            shared = common_prefix_length(before, read)
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
