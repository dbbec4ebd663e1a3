"""From supervised examples to tensors, and the audit of what they supervise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medtune.core.errors import CheckFailed
from medtune.core.model import Example
from medtune.core.records import MaskAudit


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass."""

    input_ids: Tensor
    """`[batch, position]`, padded on the right."""
    rows: Tensor
    """`[supervised]`, flat positions whose next token the loss looks at."""
    targets: Tensor
    """`[supervised]`, those next tokens."""


def collate(examples: Sequence[Example], pad: int, device: torch.device) -> Batch:
    """Pad examples to the longest of them and mark what is supervised: the answer, no more."""
    width = max(len(example.tokens) for example in examples)
    ids = torch.full((len(examples), width), pad)
    rows: list[int] = []
    targets: list[int] = []
    for index, example in enumerate(examples):
        ids[index, : len(example.tokens)] = torch.tensor(example.tokens)
        rows += range(index * width + example.prompt - 1, index * width + len(example.tokens) - 1)
        targets += example.tokens[example.prompt :]
    return Batch(
        ids.to(device), torch.tensor(rows, device=device), torch.tensor(targets, device=device)
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
        batch = collate([example], pad, torch.device("cpu"))
        seen = [row + 1 for row in batch.rows.tolist()]
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
