"""Collate supervised examples to tensors, and audit their loss mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medtune.core.errors import CheckFailed
from medtune.core.experiment import Objective
from medtune.core.protocols import Example
from medtune.core.records import MaskAudit
from medtune.core.token_batching import common_prefix_length

_EXPECTED_MASK: dict[Objective, str] = {
    "answer": "no prompt token, every answer with its ending, and a pad of its own",
    "letter": "the letter of every example, nothing else, and a pad of its own",
    "all": "every token but the first, endings included, and a pad of its own",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass: examples packed end to end after their shared prefix."""

    tokens: Tensor
    """`[prefix + token]`."""
    wanted: Tensor
    """`[supervised]`, indices into `tokens` whose next token is supervised."""
    targets: Tensor
    """`[supervised]`, those next tokens; with `choices`, the index of the right one."""
    choices: Tensor | None
    """`[supervised, choice]`: the tokens that the loss compares, padded with -1; None compares the
    whole vocabulary."""
    weights: Tensor
    """`[supervised]`, fp32."""
    lengths: tuple[int, ...]
    """Tokens of each example after the prefix."""
    prefix: int
    """Number of prompt tokens that all examples begin with."""

    def count_positions(self, packed: bool) -> int:
        """Count the token positions of the forward pass, packed or padded."""
        rows = len(self.lengths) * (self.prefix + max(self.lengths))
        return len(self.tokens) if packed else rows


def apply_objective(objective: Objective, example: Example) -> Example:
    """Return the example as the objective supervises it."""
    # The notebook's loss supervises every token after the first.
    return replace(example, prompt=1) if objective == "all" else example


def supervised_range(example: Example) -> range:
    """Return the token indices of an example whose next token is supervised."""
    last = example.prompt if example.choices else len(example.tokens) - 1 - (not example.ends)
    return range(example.prompt - 1, last)


def collate(examples: Sequence[Example], device: torch.device) -> Batch:
    """Pack examples end to end and mark the supervised tokens."""
    least, most = (pick(example.tokens for example in examples) for pick in (min, max))
    # The token that predicts the first token of an answer stays in its own row.
    prefix = min(common_prefix_length(least, most), *(example.prompt - 1 for example in examples))
    tokens = list(examples[0].tokens[:prefix])
    wanted: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for example in examples:
        start = len(tokens) - prefix
        for place in supervised_range(example):
            following = example.tokens[place + 1]
            wanted.append(start + place)
            targets.append(example.choices.index(following) if example.choices else following)
            weights.append(example.weight)
        tokens += example.tokens[prefix:]
    return Batch(
        tokens=torch.tensor(tokens, device=device),
        wanted=torch.tensor(wanted, device=device),
        targets=torch.tensor(targets, device=device),
        choices=_pad_choices(examples, device) if examples[0].choices else None,
        weights=torch.tensor(weights, device=device),
        lengths=tuple(len(example.tokens) - prefix for example in examples),
        prefix=prefix,
    )


def _pad_choices(examples: Sequence[Example], device: torch.device) -> Tensor:
    """Pad the choices of examples with -1 to `[example, choice]`."""
    width = max(len(example.choices) for example in examples)
    rows = [[*example.choices, *[-1] * (width - len(example.choices))] for example in examples]
    return torch.tensor(rows, device=device)


def audit_mask(
    examples: Sequence[Example],
    pad: int,
    end: int,
    decode: Callable[[Sequence[int]], str],
    objective: Objective = "answer",
) -> MaskAudit:
    """Audit which tokens are supervised, on the collated tensors.

    Raises:
        CheckFailed: Against the objective, a prompt token is supervised, or an answer or its
            end-of-turn is not; or the pad is the end-of-turn token (collators that mask pads then
            mask every ending).
    """
    count = prompt_supervised = ends = 0
    for example in examples:
        batch = collate([apply_objective(objective, example)], torch.device("cpu"))
        seen = [token + 1 for token in batch.wanted.tolist()]
        count += len(seen)
        prompt_supervised += sum(position < example.prompt for position in seen)
        ends += bool(seen) and int(batch.tokens[seen[-1]]) == end
    first = examples[0]
    result = MaskAudit(
        examples=len(examples),
        tokens=sum(len(example.tokens) for example in examples),
        supervised=count,
        prompt_supervised=prompt_supervised,
        ends_supervised=ends,
        pad_token=pad,
        end_token=end,
        sample=f"{decode(first.tokens[: first.prompt])}⟦{decode(first.tokens[first.prompt :])}⟧",
    )
    if objective == "letter":
        sound = count == len(examples) and not ends
    else:
        sound = ends == sum(example.ends for example in examples) < count
    if not sound or pad == end or (prompt_supervised and objective != "all"):
        raise CheckFailed(
            f"mask audit: {prompt_supervised} prompt tokens supervised, {ends} of "
            f"{len(examples)} endings supervised, pad {pad}, end-of-turn {end}",
            expected=_EXPECTED_MASK[objective],
            fix="the tokenizer or the chat template is at fault: see `medtune models info`",
        )
    return result
