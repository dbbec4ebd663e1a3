"""From supervised examples to tensors, and the audit of what they supervise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medtune.core.batching import common_length
from medtune.core.errors import CheckFailed
from medtune.core.model import Example
from medtune.core.records import MaskAudit


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass: examples laid end to end, behind what all of them begin with."""

    tokens: Tensor
    """`[prefix + token]`."""
    wanted: Tensor
    """`[supervised]`, indices into `tokens` whose next token the loss looks at."""
    targets: Tensor
    """`[supervised]`, those next tokens."""
    lengths: tuple[int, ...]
    """Tokens that each example has of its own."""
    prefix: int
    """Tokens that all examples begin with, all of them of the prompt."""

    def positions(self, packed: bool) -> int:
        """Count the positions of the forward pass, packed or with every example in a padded row."""
        rows = len(self.lengths) * (self.prefix + max(self.lengths))
        return len(self.tokens) if packed else rows


def collate(examples: Sequence[Example], device: torch.device) -> Batch:
    """Lay examples end to end and mark what is supervised: the answer, no more."""
    least, most = (pick(example.tokens for example in examples) for pick in (min, max))
    prefix = common_length(least, most)
    # What predicts the first token of an answer stays in its own row.
    prefix = min(prefix, *(example.prompt - 1 for example in examples))
    tokens = list(examples[0].tokens[:prefix])
    wanted: list[int] = []
    targets: list[int] = []
    for example in examples:
        start = len(tokens) - prefix
        wanted += range(start + example.prompt - 1, start + len(example.tokens) - 1)
        targets += example.tokens[example.prompt :]
        tokens += example.tokens[prefix:]
    return Batch(
        torch.tensor(tokens, device=device),
        torch.tensor(wanted, device=device),
        torch.tensor(targets, device=device),
        tuple(len(example.tokens) - prefix for example in examples),
        prefix,
    )


def audit(
    examples: Sequence[Example], pad: int, end: int, decode: Callable[[Sequence[int]], str]
) -> MaskAudit:
    """Count what the loss will look at, on the tensors that the loss will get.

    Raises:
        CheckFailed: A prompt token is supervised, an answer or its end-of-turn is not, or the
            pad is the end-of-turn token (collators that mask pads then mask every ending).
    """
    supervised = prompt_supervised = ends = 0
    for example in examples:
        batch = collate([example], torch.device("cpu"))
        seen = [token + 1 for token in batch.wanted.tolist()]
        supervised += len(seen)
        prompt_supervised += sum(position < example.prompt for position in seen)
        ends += bool(len(batch.targets)) and int(batch.targets[-1]) == end
    first = examples[0]
    result = MaskAudit(
        examples=len(examples),
        tokens=sum(len(example.tokens) for example in examples),
        supervised=supervised,
        prompt_supervised=prompt_supervised,
        ends_supervised=ends,
        pad_token=pad,
        end_token=end,
        sample=f"{decode(first.tokens[: first.prompt])}⟦{decode(first.tokens[first.prompt :])}⟧",
    )
    if prompt_supervised or ends < len(examples) or supervised <= ends or pad == end:
        raise CheckFailed(
            f"mask audit: {prompt_supervised} prompt tokens supervised, {ends} of "
            f"{len(examples)} endings supervised, pad {pad}, end-of-turn {end}",
            expected="no prompt token, every answer with its ending, and a pad of its own",
            fix="the tokenizer or the chat template is at fault: see `medtune models info`",
        )
    return result
