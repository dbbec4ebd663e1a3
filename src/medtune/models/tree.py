"""A prompt and its continuations in one sequence, so that the prompt is read once.

Trunk and branches lie side by side; the attention mask (`LocalModel`) hides the branches from each
other, and every token keeps the position that it would have if its branch alone followed the trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tree:
    """A prompt and its continuations, side by side in one sequence."""

    tokens: list[int]
    branch: list[int]
    """0 for the trunk, i + 1 for continuation i."""
    places: list[int]
    """Position of each token as if its branch alone followed the trunk."""
    terms: list[list[tuple[int, int]]]
    """Per continuation: (index into tokens, token that should follow there)."""
    sizes: list[int]
    """Per continuation: its bytes."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def bare(self) -> bool:
        """Nothing but a trunk: one-token continuations need no branch."""
        return not self.branch[-1]

    @classmethod
    def grow(
        cls, prompt: list[int], answers: list[tuple[list[int], int]], texts: Sequence[str]
    ) -> Tree:
        """Lay out a tree; tokens with which all answers open go to the trunk.

        Args:
            prompt: Ids of the prompt.
            answers: Per continuation, ids of lead and text, and how many belong to the lead.
            texts: The continuations.
        """
        shortest = min(len(ids) for ids, _ in answers)
        shared = 0
        while shared < shortest - 1 and len({ids[shared] for ids, _ in answers}) == 1:
            shared += 1
        tokens = [*prompt, *answers[0][0][:shared]]
        branch = [0] * len(tokens)
        places = list(range(len(tokens)))
        trunk = len(tokens)
        terms: list[list[tuple[int, int]]] = []
        for number, (ids, lead) in enumerate(answers, 1):
            start = len(tokens)
            # The last token predicts nothing that is scored, so it is not read.
            own = ids[shared:-1]
            tokens += own
            branch += [number] * len(own)
            places += range(trunk, trunk + len(own))
            terms.append(
                [
                    (_before(j, shared, trunk, start), ids[j])
                    for j in range(min(lead, len(ids) - 1), len(ids))
                ]
            )
        return cls(tokens, branch, places, terms, [len(t.strip().encode()) for t in texts])


def _before(j: int, shared: int, trunk: int, start: int) -> int:
    """Find the token after which token j of an answer is predicted."""
    return trunk - shared + j - 1 if j <= shared else start + j - shared - 1
