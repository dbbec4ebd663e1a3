"""Run a transformers model on this machine, with or without an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
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
from medtune.core.token_batching import batch_by_token_budget
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.device import choose_pass_sizes
from medtune.models.local.constrained_decoding import Choices, allowed_tokens
from medtune.models.local.continuation_scorer import Scorer
from medtune.models.local.loader import load_network
from medtune.models.local.nf4 import NF4, is_loaded_in_4bit
from medtune.models.local.selected_logits import exact_head
from medtune.models.sources import ModelSource
from medtune.models.weights_card import WeightsCard


class LocalModel:
    """An AnswerModel that runs here.

    Attributes:
        network: The transformers model, including the LoRA layers of an adapter.
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
        self.batch = batch or choose_pass_sizes(self.device).rows
        self._adapter_hash = adapter_hash
        self.adapter_folder: Path | None = None
        """Folder that the adapter was loaded from; None without one, or while it is trained."""
        self._packed = packed
        # A quantized model should be small: half the pass size takes 4 % more time and 120 MB less.
        share = 1 if packed is None else 2
        budget = choose_pass_sizes(self.device).scoring // share
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
            dtype: float32, bfloat16, float16, auto, or nf4 (layers in 4 bits).
            attention: sdpa or eager of transformers, or auto: `attend` on a CPU, else sdpa.
            light: Load without transformers if possible (`Decoder`): faster, but without training
                or adapters. Quantized models always load this way.

        Raises:
            ModelError: This machine does not support the precision.
            UnknownModelError: The folder is not a causal language model.
            TemplateError: Its tokenizer has no usable chat template.
        """
        network, tokenizer, packed = load_network(source, dtype, attention, light)
        return cls(network, tokenizer, source, packed=packed)

    def with_encoder(self, encoder: ChatEncoder) -> LocalModel:
        """Return the same model with another chat template."""
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
        """Device of the weights."""
        return next(self.network.parameters()).device  # type: ignore[no-any-return]

    def describe(self) -> ModelDescription:
        """Describe the weights and their precision."""
        return ModelDescription(
            source=self.source.name,
            fingerprint=self.source.fingerprint,
            adapter=self._adapter_hash,
            parameters=(self._packed and self._packed.parameters) or self.network.num_parameters(),
            dtype=self._precision_name(),
            device=self.device.type,  # without its index, which differs from rank to rank
        )

    def _precision_name(self) -> str:
        if self._packed is not None:
            return str(self._packed.scheme)
        return NF4 if is_loaded_in_4bit(self.network) else str(self.network.dtype)[len("torch.") :]

    def render(self, messages: Sequence[Message]) -> str:
        """Render a prompt exactly as the model reads it."""
        return self.encoder.render(messages)

    def beyond(self, messages: Sequence[Message]) -> tuple[int, int] | None:
        """Return a prompt's token count and the model's maximum if it exceeds that; else None.

        No token is shorter than a byte, so that short prompts need not be encoded.
        """
        most = getattr(self.network.config, "max_position_embeddings", None)
        text = self.render(messages)
        if most is None or len(text.encode()) <= most:
            return None
        (ids,) = self.encoder.encode_texts([text])
        return (len(ids), most) if len(ids) > most else None

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation; tokens shared by several prompts are computed once (`Scorer`).

        Raises:
            ModelError: A score is not a number.
        """
        return self._scorer.score(requests, self.batch)

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Generate answers, in batches padded on the left."""
        torch.manual_seed(decoding.seed)
        prompts = self.encoder.encode_prompts([r.messages for r in requests])
        choices = [self._choices(r) for r in requests]
        answers: list[Generation] = [Generation("", 0, False)] * len(prompts)
        limits = [_max_new_tokens(c, decoding) for c in choices]
        room = [len(p) + limit for p, limit in zip(prompts, limits, strict=True)]
        budget = choose_pass_sizes(self.device).generation
        # A batch takes as many steps as its longest answer, so fewer batches are faster.
        for batch in batch_by_token_budget(room, budget, self.batch, budget):
            made = self._generate_batch(
                [prompts[i] for i in batch], [choices[i] for i in batch], decoding
            )
            for index, answer in zip(batch, made, strict=True):
                answers[index] = answer
        return answers

    def _choices(self, request: GenerateRequest) -> Choices | None:
        if request.choices is None:
            return None
        return Choices.from_ids(self.encoder.encode_texts(request.choices), self.encoder.end)

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
                "top_k": decoding.top_k,  # the default of transformers is 50
            }
        limits = [_max_new_tokens(c, decoding) for c in choices]
        if any(choices):
            sampling["prefix_allowed_tokens_fn"] = lambda row, tokens: allowed_tokens(
                choices[row], tokens[width:].tolist(), self.network.config.vocab_size
            )
        # Ties between options must not go to the lower token id.
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
        return [self._trim_answer(row[width : width + limit].tolist()) for row, limit in rows]

    def _trim_answer(self, tokens: list[int]) -> Generation:
        """Trim an answer at its end-of-turn token."""
        ends = [i for i, token in enumerate(tokens) if token in self.encoder.stops]
        kept = tokens[: ends[0]] if ends else tokens
        text = self.encoder.tokenizer.decode(kept, skip_special_tokens=True).strip()
        return Generation(text, len(kept), bool(ends))


def _max_new_tokens(choices: Choices | None, decoding: Decoding) -> int:
    """Return the most new tokens; a constrained option is never truncated."""
    longest = choices.max_length if choices is not None else 0
    return max(decoding.max_new_tokens, longest)
