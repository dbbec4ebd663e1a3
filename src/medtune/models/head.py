"""The forward pass that everything shares: only the positions that are asked for reach the head.

The output head is the largest matrix of a small model; over every position of a batch it costs
more than all layers together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medtune.core.errors import ModelError


class AnswerHead(nn.Module):
    """A causal language model, evaluated at chosen positions.

    Args:
        network: A transformers causal LM, with or without LoRA layers inside.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        input_ids: Tensor,
        rows: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Return logits, `[row, vocabulary]`, at the chosen positions; see `states`."""
        return self.logits(self.states(input_ids, rows, attention_mask, position_ids))

    def states(
        self,
        input_ids: Tensor,
        rows: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past: Any = None,
    ) -> Tensor:
        """Return the last hidden states, `[row, hidden]`, at the chosen positions.

        Args:
            input_ids: `[batch, position]`, padded on the right; with causal attention no real
                token sees what follows it, so padding needs no mask.
            rows: `[row]`, indices into the flattened `[batch * position]`.
            attention_mask: `[batch or 1, 1, query, key]`, additive; None is plain causal attention.
            position_ids: `[batch, position]`; None counts from 0.
            past: transformers' cache of tokens before these; it is changed.
        """
        decoder = self.network.get_decoder()
        hidden = decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past,
            use_cache=past is not None,
        ).last_hidden_state
        # Flattened before the pick: a head over a batched view copies its matrix per row.
        chosen: Tensor = hidden.reshape(-1, hidden.shape[-1])[rows]
        return chosen

    def logits(self, states: Tensor) -> Tensor:
        """Put hidden states, `[row, hidden]`, through the output head."""
        logits: Tensor = self.network.get_output_embeddings()(states)
        return logits


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
    ours = AnswerHead(network)(ids, torch.arange(8, device=device)).float()
    if not torch.allclose(own, ours, rtol=1e-2, atol=1e-2):
        raise ModelError(
            f"{name} changes its logits after the output head "
            f"(by up to {(own - ours).abs().max().item():.3g})",
            expected="an architecture whose head is its last step, such as Llama, Qwen or SmolLM",
        )
