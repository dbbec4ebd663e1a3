"""Collate supervised examples to tensors, and audit their loss mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from medtune.core.errors import CheckFailed
from medtune.core.experiment import Objective
from medtune.core.protocols import Example
from medtune.core.records import MaskAudit
from medtune.core.token_batching import common_prefix_length
from medtune.core.token_trie import ScoredSequence, TokenTrie

_EXPECTED_MASK: dict[Objective, str] = {
    "answer": "no prompt token, every answer with its ending, and a pad of its own",
    "choice": "no prompt token, every option that is compared, and a pad of its own",
    "all": "every token but the first, endings included, and a pad of its own",
}


@dataclass(frozen=True, slots=True)
class OptionBatch:
    """The options of the questions of a batch; where a question has fewer, cells are padded."""

    cells: Tensor
    """`[target]`: question * width + option of each target; the last cell is no option's."""
    lengths: Tensor
    """`[question, width]`, what log-likelihoods are divided by; inf where there is no option."""
    right: Tensor
    """`[question]`, index of the right option."""
    weights: Tensor
    """`[question]`, fp32."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass: rows packed end to end after their shared prefix.

    A row is an example with its options as branches, or a single sequence.
    """

    tokens: Tensor
    """`[prefix + token]`."""
    ends: Tensor | None
    """`[token]`: where the subtree of every token after the prefix ends in its row; None without
    branches."""
    wanted: Tensor
    """`[row]`, indices into `tokens` whose logits are computed."""
    rows: Tensor
    """`[target]`, index into `wanted` of what predicts each target."""
    targets: Tensor
    """`[target]`, supervised token ids."""
    weights: Tensor
    """`[target]`, fp32, of the answers' loss."""
    options: OptionBatch | None
    """What the loss compares; None for losses of answers alone."""
    lengths: tuple[int, ...]
    """Tokens of each row after the prefix."""
    prefix: int
    """Number of prompt tokens that all rows begin with."""

    def count_positions(self, packed: bool) -> int:
        """Count the token positions of the forward pass, packed or padded."""
        rows = len(self.lengths) * (self.prefix + max(self.lengths))
        return len(self.tokens) if packed else rows


def apply_objective(objective: Objective, example: Example) -> Example:
    """Return the example as the objective supervises it."""
    # The notebook's loss supervises every token after the first.
    return replace(example, prompt=1) if objective == "all" else example


def supervised_sequences(example: Example) -> list[ScoredSequence]:
    """Return the sequences of an example whose tokens are supervised: options, then the answer."""
    if not example.answer_share:
        return list(example.options)
    tokens = example.tokens if example.ends else example.tokens[:-1]
    return [*example.options, ScoredSequence(tokens, example.prompt)]


def loss_weight(example: Example) -> float:
    """Return the weight of an example's loss in a step: per question, or per supervised token."""
    if example.options:
        return example.weight
    (answer,) = supervised_sequences(example)
    return example.weight * (len(answer.tokens) - answer.first)


def count_tokens(example: Example) -> int:
    """Count the tokens of an example's forward pass, what its sequences share once."""
    return len(TokenTrie.from_sequences(supervised_sequences(example)))


def collate(examples: Sequence[Example], device: torch.device, *, branches: bool = True) -> Batch:
    """Pack examples end to end and mark the supervised tokens.

    Args:
        examples: The examples of a pass; all or none of them compare options.
        device: Device of the tensors.
        branches: Whether the options of an example are branches of one row; otherwise they are
            rows of their own, for models that cannot pack.
    """
    taught = [supervised_sequences(example) for example in examples]
    every = [sequence for sequences in taught for sequence in sequences]
    least, most = (pick(sequence.tokens for sequence in every) for pick in (min, max))
    # What predicts the first supervised token stays in its own row.
    prefix = min(
        common_prefix_length(least, most),
        *(min(sequence.first - 1, len(sequence.tokens) - 2) for sequence in every),
    )
    width = max(len(example.options) for example in examples)
    outside = len(examples) * width
    tokens, ends = list(every[0].tokens[:prefix]), list[int]()
    lengths: list[int] = []
    found: list[tuple[int, int, float, int]] = []  # place, target, weight in an answer, cell
    for number, (example, sequences) in enumerate(zip(examples, taught, strict=True)):
        parts = [sequences] if branches else [[sequence] for sequence in sequences]
        cells = [number * width + place for place in range(len(example.options))]
        weights = [0.0] * len(cells)
        if example.answer_share:
            cells.append(outside)
            share = example.answer_share / (len(sequences[-1].tokens) - sequences[-1].first or 1)
            weights.append(example.weight * (share if example.options else 1.0))
        owners = iter(zip(weights, cells, strict=True))
        for part in parts:
            trie = TokenTrie.from_sequences(part, prefix)
            mine = islice(owners, len(part))
            for terms, (weight, cell) in zip(trie.terms, mine, strict=True):
                found += [(len(tokens) + place, target, weight, cell) for place, target in terms]
            tokens += trie.tokens
            ends += trie.ends
            lengths.append(len(trie))
    wanted, rows = torch.unique(
        torch.tensor([place for place, *_ in found], device=device), return_inverse=True
    )
    single = all(len(sequences) == 1 for sequences in taught) or not branches
    return Batch(
        tokens=torch.tensor(tokens, device=device),
        ends=None if single else torch.tensor(ends, device=device),
        wanted=wanted,
        rows=rows,
        targets=torch.tensor([target for _, target, _, _ in found], device=device),
        weights=torch.tensor([weight for _, _, weight, _ in found], device=device),
        options=_collate_options(examples, [cell for *_, cell in found], width, device)
        if width
        else None,
        lengths=tuple(lengths),
        prefix=prefix,
    )


def _collate_options(
    examples: Sequence[Example], cells: Sequence[int], width: int, device: torch.device
) -> OptionBatch:
    """Pad the options of examples to `[question, width]`."""
    padded = [
        [*example.lengths, *[math.inf] * (width - len(example.lengths))] for example in examples
    ]
    weights = [example.weight * (1 - example.answer_share) for example in examples]
    return OptionBatch(
        cells=torch.tensor(cells, device=device),
        lengths=torch.tensor(padded, dtype=torch.float32, device=device),
        right=torch.tensor([example.right for example in examples], device=device),
        weights=torch.tensor(weights, dtype=torch.float32, device=device),
    )


def audit_mask(
    examples: Iterable[Example],
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
    count = tokens = supervised = prompt_supervised = ends = expected_ends = 0
    sample, fits = "", True
    for example in examples:
        batch = collate([apply_objective(objective, example)], torch.device("cpu"))
        count += 1
        tokens += len(batch.tokens)
        supervised += len(batch.targets)
        ends += bool(len(batch.targets)) and int(batch.targets[-1]) == end
        expected_ends += example.ends and example.answer_share > 0
        fits = fits and bool(example.options) == (objective == "choice")
        if example.options:
            prompt_supervised += sum(max(0, o.prompt - o.first) for o in example.options)
        else:  # a row is one sequence, whose tokens follow what predicts them
            prompt_supervised += int((batch.wanted + 1 < example.prompt).sum())
        sample = sample or "\n".join(
            f"{decode(s.tokens[: s.first])}⟦{decode(s.tokens[s.first :])}⟧"
            for s in supervised_sequences(example)
        )
    sound = fits and ends == expected_ends < supervised
    if not sound or pad == end or (prompt_supervised and objective != "all"):
        raise CheckFailed(
            f"mask audit: {prompt_supervised} prompt tokens supervised, {ends} of "
            f"{count} endings supervised, pad {pad}, end-of-turn {end}",
            expected=_EXPECTED_MASK[objective],
            fix="the tokenizer or the chat template is at fault: see `medtune models info`",
        )
    return MaskAudit(
        examples=count,
        tokens=tokens,
        supervised=supervised,
        prompt_supervised=prompt_supervised,
        ends_supervised=ends,
        pad_token=pad,
        end_token=end,
        sample=sample,
    )
