"""Compute logits at selected positions only: the forward pass of training and scoring.

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

HALF_PRECISIONS = (torch.bfloat16, torch.float16)
"""Dtypes whose logits are rounded to 8 or 11 bits, so that options tie."""
CAST_BLOCK_WEIGHTS = 2**22
"""Weights of the head that are cast to fp32 at once, 16 MiB."""


class AnswerHead(nn.Module):
    """A causal language model, evaluated at selected positions.

    Args:
        network: A transformers causal LM, with or without LoRA layers.
        packs: Whether rows are packed end to end (`can_pack`); otherwise they are padded.
    """

    def __init__(self, network: Any, packs: bool = False) -> None:
        super().__init__()
        self.network = network
        self.packs = packs

    def forward(
        self,
        tokens: Tensor,
        wanted: Tensor,
        lengths: Sequence[int],
        prefix: int = 0,
        ends: Tensor | None = None,
    ) -> Tensor:
        """Return logits, `[wanted, vocabulary]`, at selected tokens of packed rows.

        Args:
            tokens: `[prefix + token]`: the shared prefix, then the tokens of each row.
            wanted: `[wanted]`, indices into `tokens`, none of them in the prefix.
            lengths: Tokens of each row after the prefix.
            prefix: Number of tokens that all rows begin with.
            ends: `[token]`: where the subtree of every token after the prefix ends in its row;
                None if no row has branches. Only packed rows can have any.
        """
        assert ends is None or self.packs, "padded rows have no branches"
        layout = Layout.from_lengths(lengths, prefix, tokens.device, ends)
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
        """Return the last hidden states, `[row, hidden]`, at the selected positions.

        Args:
            input_ids: `[batch, position]`, padded on the right; with causal attention no token
                attends to later ones, so padding needs no mask.
            rows: `[row]`, indices into the flattened `[batch * position]`.
            attention_mask: `[batch or 1, 1, query, key]`, additive; None is plain causal attention.
            position_ids: `[batch, position]`; None counts from 0.
            past: Key-value cache of earlier tokens; it is changed.
            others: Arguments of the attention kernel.
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
        # Flattened before the selection: a head over a batched view copies its matrix per row.
        chosen: Tensor = hidden.reshape(-1, hidden.shape[-1])[rows]
        return chosen

    def logits(self, states: Tensor) -> Tensor:
        """Compute the logits of hidden states, `[row, hidden]`, in the precision of the head."""
        logits: Tensor = self.network.get_output_embeddings()(states)
        return logits

    def exact_logits(self, states: Tensor) -> Tensor:
        """Compute the logits of hidden states in fp32; see `exact_logits`."""
        return exact_logits(self.network.get_output_embeddings(), states)


@torch.inference_mode()
def exact_logits(head: nn.Module, states: Tensor) -> Tensor:
    """Compute logits in fp32, whatever the precision of the model.

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
    halves = {name: p for name, p in head.named_parameters() if p.dtype in HALF_PRECISIONS}
    if not halves:  # integer heads compute in fp32, and return the dtype of their input
        logits: Tensor = head(given).float()
        return logits
    if type(head) is not nn.Linear:  # a head with LoRA layers: its parts are cast as a whole
        cast = {name: p.float() for name, p in halves.items()}
        logits = torch.func.functional_call(head, cast, (given,))
        return logits.float()
    logits = given.new_empty(len(given), len(head.weight))
    block = max(1, CAST_BLOCK_WEIGHTS // head.weight.shape[1])
    room = given.new_empty(block, head.weight.shape[1])  # fresh memory would cost as much again
    for start in range(0, len(head.weight), block):
        weight = head.weight[start : start + block]
        part = room[: len(weight)].copy_(weight)
        torch.mm(given, part.t(), out=logits[:, start : start + block])
    return logits if head.bias is None else logits.add_(head.bias)


@contextmanager
def exact_head(network: Any) -> Iterator[None]:
    """Patch a model's forward pass to compute a dense head by `exact_logits`."""
    head = network.get_output_embeddings()
    if type(head) is not nn.Linear or head.weight.dtype not in HALF_PRECISIONS:
        yield
        return

    def forward(states: Tensor) -> Tensor:
        rows = exact_logits(head, states.reshape(-1, states.shape[-1]))
        return rows.view(*states.shape[:-1], -1)

    layer: Any = head
    layer.forward = forward  # an instance attribute, which overrides the method until it is deleted
    try:
        yield
    finally:
        del layer.forward


@torch.inference_mode()
def check_head_is_last(network: Any, name: str) -> None:
    """Check on a few tokens that `AnswerHead` gives the model's own logits.

    Some architectures scale or cap their logits after the head; scoring them at selected positions
    would silently be wrong.

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
    """Return whether packed rows and branches give the logits of single rows, by a numeric test.

    This fails for layers without full attention, and where the layout does not reach the attention
    kernel.
    """
    if not has_full_attention(network.config):
        return False
    device = next(network.parameters()).device
    close = relative_tolerance(network)
    tokens = torch.tensor([3, 4, 5, 6, 7, 8, 9, 10, 9, 8, 10, 3, 7], device=device)
    wanted = torch.tensor([7, 10, 12], device=device)
    lengths, prefix = [5, 2, 2], 4
    alone = AnswerHead(network)(tokens, wanted, lengths, prefix).float()
    packs = AnswerHead(network, packs=True)
    packed = packs(tokens, wanted, lengths, prefix).float()
    # The same rows as branches of one.
    ends = torch.tensor([5] * 5 + [7] * 2 + [9] * 2, device=device)
    branched = packs(tokens, wanted, [sum(lengths)], prefix, ends).float()
    return all(
        torch.allclose(found, alone, rtol=close, atol=10 * close) for found in (packed, branched)
    )


def relative_tolerance(network: Any) -> float:
    """Return the relative tolerance between two computations of one number in a model.

    Before integer layers the last bit of a float can change a value to the next integer, and with
    one term per token such a step is as large as the whole quantization error.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Int8Linear)]
    if any(layer.coarse for layer in layers):
        return 0.05
    if layers:
        return 4 * torch.finfo(torch.bfloat16).eps
    return max(4 * torch.finfo(next(network.parameters()).dtype).eps, 1e-4)


def has_full_attention(config: Any) -> bool:
    """Return whether every layer has full attention.

    With a sliding window or a recurrent layer the tokens of other branches change the scores, so
    neither shared prefixes nor tries can be used.
    """
    kinds = getattr(config, "layer_types", None)
    if not kinds:  # Mistral has a sliding window but no list of layer types
        return getattr(config, "sliding_window", None) is None
    return all(kind == "full_attention" for kind in kinds)
