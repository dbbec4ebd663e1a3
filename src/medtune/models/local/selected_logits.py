"""The forward pass that everything shares: only the positions that are asked for reach the head.

The output head is the largest matrix of a small model; over every position of a batch it costs
more than all layers together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medtune.core.errors import ModelError
from medtune.models.kernels.sequence_packing import Layout
from medtune.models.light.int_layers import Int8Linear

HALF = (torch.bfloat16, torch.float16)
"""Precisions in which a head's product would be rounded to 8 or 11 bits: options tie by that."""
CAST_AT_ONCE = 2**22
"""Weights of the head in fp32 at once, 16 MiB."""


class AnswerHead(nn.Module):
    """A causal language model, evaluated at chosen positions.

    Args:
        network: A transformers causal LM, with or without LoRA layers inside.
        packs: Whether it can read rows laid end to end (`can_pack`); otherwise they are padded.
    """

    def __init__(self, network: Any, packs: bool = False) -> None:
        super().__init__()
        self.network = network
        self.packs = packs

    def forward(
        self, tokens: Tensor, wanted: Tensor, lengths: Sequence[int], prefix: int = 0
    ) -> Tensor:
        """Return logits, `[wanted, vocabulary]`, at chosen tokens of rows laid end to end.

        Args:
            tokens: `[prefix + token]`: what all rows begin with, then what each has of its own.
            wanted: `[wanted]`, indices into `tokens`, none of them in the prefix.
            lengths: Tokens that each row has of its own.
            prefix: Tokens that all rows begin with.
        """
        layout = Layout.of(lengths, prefix, tokens.device)
        if self.packs:
            states = self.states(
                tokens[None],
                wanted,
                attention_mask=layout.mask,
                position_ids=layout.positions,
                layout=layout,
            )
        else:
            opening = tokens[:prefix].expand(layout.rows, -1)
            own = tokens[prefix:][layout.spread].view(layout.rows, -1)
            places = layout.collect[wanted - prefix]
            row = places.div(layout.width, rounding_mode="floor")
            states = self.states(torch.cat([opening, own], dim=1), places + (row + 1) * prefix)
        return self.logits(states)

    def states(
        self,
        input_ids: Tensor,
        rows: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past: Any = None,
        **others: Any,
    ) -> Tensor:
        """Return the last hidden states, `[row, hidden]`, at the chosen positions.

        Args:
            input_ids: `[batch, position]`, padded on the right; with causal attention no real
                token sees what follows it, so padding needs no mask.
            rows: `[row]`, indices into the flattened `[batch * position]`.
            attention_mask: `[batch or 1, 1, query, key]`, additive; None is plain causal attention.
            position_ids: `[batch, position]`; None counts from 0.
            past: transformers' cache of tokens before these; it is changed.
            others: For the attention kernel.
        """
        decoder = self.network.get_decoder()
        hidden = decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past,
            use_cache=past is not None,
            **others,
        ).last_hidden_state
        # Flattened before the pick: a head over a batched view copies its matrix per row.
        chosen: Tensor = hidden.reshape(-1, hidden.shape[-1])[rows]
        return chosen

    def logits(self, states: Tensor) -> Tensor:
        """Put hidden states, `[row, hidden]`, through the output head, in its own precision."""
        logits: Tensor = self.network.get_output_embeddings()(states)
        return logits

    def exact_logits(self, states: Tensor) -> Tensor:
        """Put hidden states through the output head in fp32; see `exact_logits`."""
        return exact_logits(self.network.get_output_embeddings(), states)


@torch.inference_mode()
def exact_logits(head: nn.Module, states: Tensor) -> Tensor:
    """Compute an output head's logits in fp32, whatever precision the model computes in.

    In bf16 a logit of 20 is rounded to a multiple of 1/8, and the likeliest letters of one question
    in seven tie.  A dense head's weights are cast a block at a time: a copy of all of them would
    add half of a small model's memory.

    Args:
        head: Any module that maps hidden states to logits.
        states: `[row, hidden]`.

    Returns:
        `[row, vocabulary]`, fp32.
    """
    given = states.float()
    halves = {name: p for name, p in head.named_parameters() if p.dtype in HALF}
    if not halves:  # integers compute in fp32, and return what they are given
        logits: Tensor = head(given).float()
        return logits
    if type(head) is not nn.Linear:  # one that was adapted: its parts are cast as a whole
        cast = {name: p.float() for name, p in halves.items()}
        logits = torch.func.functional_call(head, cast, (given,))
        return logits.float()
    logits = given.new_empty(len(given), len(head.weight))
    block = max(1, CAST_AT_ONCE // head.weight.shape[1])
    room = given.new_empty(block, head.weight.shape[1])  # fresh memory would cost as much again
    for start in range(0, len(head.weight), block):
        weight = head.weight[start : start + block]
        part = room[: len(weight)].copy_(weight)
        torch.mm(given, part.t(), out=logits[:, start : start + block])
    return logits if head.bias is None else logits.add_(head.bias)


@contextmanager
def exact_head(network: Any) -> Iterator[None]:
    """Let a model's own forward pass compute a dense head as `exact_logits` does."""
    head = network.get_output_embeddings()
    if type(head) is not nn.Linear or head.weight.dtype not in HALF:
        yield
        return

    def forward(states: Tensor) -> Tensor:
        rows = exact_logits(head, states.reshape(-1, states.shape[-1]))
        return rows.view(*states.shape[:-1], -1)

    layer: Any = head
    layer.forward = forward  # on the object: it hides the class's own until it is deleted
    try:
        yield
    finally:
        del layer.forward


@torch.inference_mode()
def check_head(network: Any, name: str) -> None:
    """Prove on a few tokens that the shortcut gives the model's own logits.

    Some architectures scale or cap their logits after the head; scoring those by the shortcut
    would be wrong without a sign.

    Raises:
        ModelError: The logits differ.
    """
    device = next(network.parameters()).device
    ids = torch.arange(3, 11, device=device).unsqueeze(0)
    own = network(input_ids=ids, use_cache=False).logits[0].float()
    ours = AnswerHead(network)(ids[0], torch.arange(8, device=device), [8]).float()
    if not torch.allclose(own, ours, rtol=1e-2, atol=1e-2):
        raise ModelError(
            f"{name} changes its logits after the output head "
            f"(by up to {(own - ours).abs().max().item():.3g})",
            expected="an architecture whose head is its last step, such as Llama, Qwen or SmolLM",
        )


@torch.inference_mode()
def can_pack(network: Any) -> bool:
    """Prove on a few tokens that rows laid end to end are read as if each were alone.

    They are not where a layer does not see all tokens, or where the layout does not reach the
    attention kernel.
    """
    if not attends_to_all(network.config):
        return False
    device = next(network.parameters()).device
    tokens = torch.tensor([3, 4, 5, 6, 7, 8, 9, 10, 9, 8, 10, 3, 7], device=device)
    wanted = torch.tensor([7, 10, 12], device=device)
    lengths, prefix = [5, 2, 2], 4
    alone = AnswerHead(network)(tokens, wanted, lengths, prefix).float()
    packed = AnswerHead(network, packs=True)(tokens, wanted, lengths, prefix).float()
    return torch.allclose(packed, alone, rtol=rounding(network), atol=10 * rounding(network))


def rounding(network: Any) -> float:
    """Return how far two ways to one number may part, relatively, in a model's precision.

    Before layers of integers the last bit of a float can tip a value to the next whole number, and
    where tokens have one term those steps are as large as what the rounding costs altogether.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Int8Linear)]
    if any(layer.coarse for layer in layers):
        return 0.05
    if layers:
        return 4 * torch.finfo(torch.bfloat16).eps
    return max(4 * torch.finfo(next(network.parameters()).dtype).eps, 1e-4)


def attends_to_all(config: Any) -> bool:
    """Tell whether every layer sees all tokens.

    A sliding window counts tokens of the row and a recurrent layer reads all of them, other
    branches' as well: there, neither prefixes nor branches give the model's own scores.
    """
    kinds = getattr(config, "layer_types", None)
    if not kinds:  # Mistral's window has no list of layers
        return getattr(config, "sliding_window", None) is None
    return all(kind == "full_attention" for kind in kinds)
