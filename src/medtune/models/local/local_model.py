"""A transformers model on this machine, with or without an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Self

import torch

from medtune.core.protocols import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import ModelDescription
from medtune.core.token_batching import within_budget
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.device import pass_sizes
from medtune.models.local.constrained_decoding import Choices, allowed_after
from medtune.models.local.continuation_scorer import Scorer
from medtune.models.local.loader import opened
from medtune.models.local.nf4 import NF4, is_four_bits
from medtune.models.local.selected_logits import exact_head
from medtune.models.sources import ModelSource
from medtune.models.weights_card import WeightsCard


class LocalModel:
    """An AnswerModel that runs here.

    Attributes:
        network: The transformers model; LoRA layers are inside it if an adapter is.
        encoder: Its chat template.
        batch: Most sequences in one forward pass.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        source: ModelSource,
        adapter_hash: str | None = None,
        batch: int | None = None,
        encoder: ChatEncoder | None = None,
        packed: WeightsCard | None = None,
    ) -> None:
        self.network = network
        self.source = source
        self.encoder = encoder or ChatEncoder(tokenizer)
        self.batch = batch or pass_sizes(self.device).rows
        self._adapter_hash = adapter_hash
        self._packed = packed
        # A packed model is there to be small: half a pass takes 4 % more time and 120 MB less.
        share = 1 if packed is None else 2
        budget = pass_sizes(self.device).scoring // share
        self._scorer = Scorer(network, self.encoder, source.name, budget)

    @classmethod
    def load(
        cls,
        source: ModelSource,
        dtype: str = "auto",
        attention: str = "auto",
        light: bool = False,
    ) -> Self:
        """Load a base model from its folder.

        Args:
            source: A resolved name.
            dtype: float32, bfloat16, float16, auto, or nf4: layers in 4 bits.
            attention: sdpa or eager, transformers' own, or auto: `attend` on a CPU, else sdpa.
            light: Do without transformers where that is possible (`Decoder`): quicker to open, but
                not to be trained or adapted. Packed models always do.

        Raises:
            ModelError: This machine cannot compute in that precision.
            UnknownModelError: The folder is not a causal language model.
            TemplateError: Its tokenizer has no usable chat template.
        """
        network, tokenizer, packed = opened(source, dtype, attention, light)
        return cls(network, tokenizer, source, packed=packed)

    def read_by(self, encoder: ChatEncoder) -> LocalModel:
        """Open the same model behind another chat template."""
        return LocalModel(
            self.network,
            encoder.tokenizer,
            self.source,
            self._adapter_hash,
            self.batch,
            encoder,
            self._packed,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device  # type: ignore[no-any-return]

    def describe(self) -> ModelDescription:
        """Say which weights these are, and in what arithmetic."""
        return ModelDescription(
            source=self.source.name,
            fingerprint=self.source.fingerprint,
            adapter=self._adapter_hash,
            parameters=(self._packed and self._packed.parameters) or self.network.num_parameters(),
            dtype=self._arithmetic(),
            device=str(self.device),
        )

    def _arithmetic(self) -> str:
        if self._packed is not None:
            return str(self._packed.scheme)
        return NF4 if is_four_bits(self.network) else str(self.network.dtype)[len("torch.") :]

    def render(self, messages: Sequence[Message]) -> str:
        """Show the exact text that the model reads."""
        return self.encoder.render(messages)

    def beyond(self, messages: Sequence[Message]) -> tuple[int, int] | None:
        """Tell a prompt's tokens and the most that the model was made to read, if there are more.

        No token is shorter than a byte, so that short prompts need not be encoded.
        """
        most = getattr(self.network.config, "max_position_embeddings", None)
        text = self.render(messages)
        if most is None or len(text.encode()) <= most:
            return None
        (ids,) = self.encoder.ids([text])
        return (len(ids), most) if len(ids) > most else None

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation; what several prompts share is read once (`Scorer`).

        Raises:
            ModelError: A score is not a number.
        """
        return self._scorer.score(requests, self.batch)

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Answer freely, in batches padded on the left."""
        torch.manual_seed(decoding.seed)
        prompts = self.encoder.prompts([r.messages for r in requests])
        choices = [self._choices(r) for r in requests]
        answers: list[Generation] = [Generation("", 0, False)] * len(prompts)
        limits = [_limit(c, decoding) for c in choices]
        room = [len(p) + limit for p, limit in zip(prompts, limits, strict=True)]
        budget = pass_sizes(self.device).generation
        # Every batch takes as many steps as its longest answer, full or not: the fewer, the better.
        for batch in within_budget(room, budget, self.batch, budget):
            made = self._generate_batch(
                [prompts[i] for i in batch], [choices[i] for i in batch], decoding
            )
            for index, answer in zip(batch, made, strict=True):
                answers[index] = answer
        return answers

    def _choices(self, request: GenerateRequest) -> Choices | None:
        if request.choices is None:
            return None
        return Choices.of(self.encoder.ids(request.choices), self.encoder.end)

    def _generate_batch(
        self,
        prompts: list[list[int]],
        choices: Sequence[Choices | None],
        decoding: Decoding,
    ) -> list[Generation]:
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.encoder.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        sampling: dict[str, Any] = {"do_sample": False, "num_beams": decoding.beams}
        if decoding.temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": decoding.temperature,
                "top_p": decoding.top_p,
                "top_k": decoding.top_k,  # transformers' own default is 50
            }
        limits = [_limit(c, decoding) for c in choices]
        if any(choices):
            sampling["prefix_allowed_tokens_fn"] = lambda row, tokens: allowed_after(
                choices[row], tokens[width:].tolist(), self.network.config.vocab_size
            )
        # Between options ties must not go to the one whose token has the lower number.
        with exact_head(self.network) if any(choices) else nullcontext():
            out = self.network.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=max(limits),
                eos_token_id=list(self.encoder.stops),
                pad_token_id=self.encoder.pad,
                **sampling,
            )
        rows = zip(out, limits, strict=True)
        return [self._cut(row[width : width + limit].tolist()) for row, limit in rows]

    def _cut(self, tokens: list[int]) -> Generation:
        """Cut an answer where the model ended it."""
        ends = [i for i, token in enumerate(tokens) if token in self.encoder.stops]
        kept = tokens[: ends[0]] if ends else tokens
        text = self.encoder.tokenizer.decode(kept, skip_special_tokens=True).strip()
        return Generation(text, len(kept), bool(ends))


def _limit(choices: Choices | None, decoding: Decoding) -> int:
    """Count the tokens that may be written; an option is not cut short: half of one names none."""
    longest = choices.longest if choices is not None else 0
    return max(decoding.max_new_tokens, longest)
