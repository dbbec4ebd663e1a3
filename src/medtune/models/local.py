"""A transformers model on this machine, with or without an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from medtune.core.batching import within_budget
from medtune.core.errors import ModelError, UnknownModelError
from medtune.core.model import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import MAX_OPTIONS, ModelDescription
from medtune.models.device import best_device, choose_dtype
from medtune.models.encode import ChatEncoder
from medtune.models.head import AnswerHead, check_head
from medtune.models.sources import ModelSource
from medtune.models.tree import Tree

TOKEN_BUDGET = 2048
"""Positions in one forward pass of scoring; larger ones were slower on two cores (docs/log.md)."""
HEAD_ROWS = 512
"""Rows of logits at once: 512 x 49,152 in fp32 are 100 MB."""


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
        batch: int = 64,
    ) -> None:
        self.network = network
        self.source = source
        self.encoder = ChatEncoder(tokenizer)
        self.batch = batch
        self._adapter_hash = adapter_hash

    @classmethod
    def load(cls, source: ModelSource, dtype: str = "auto", attention: str = "sdpa") -> Self:
        """Load a base model from its folder.

        Args:
            source: A resolved name.
            dtype: float32, bfloat16, float16, or auto.
            attention: transformers' attention implementation.

        Raises:
            UnknownModelError: The folder is not a causal language model.
            TemplateError: Its tokenizer has no usable chat template.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        assert source.folder is not None, "a fake is not loaded from a folder"
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        device = best_device()
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.folder)
            network = AutoModelForCausalLM.from_pretrained(
                source.folder,
                dtype=choose_dtype(dtype, device),
                attn_implementation=attention,
            )
        except (OSError, ValueError, KeyError) as error:
            raise UnknownModelError(
                f"{source.name} cannot be loaded: {str(error).splitlines()[0]}",
                expected="a causal language model in transformers' format",
            ) from error
        network = network.to(device).eval()
        # A head that gets a strided slice (the last positions of a batch, as generation does)
        # copies its matrix once per row where its weight is frozen: 54 MB each on the 135M model.
        network.get_output_embeddings().register_forward_pre_hook(
            lambda _, inputs: (inputs[0].contiguous(), *inputs[1:])
        )
        check_head(network, source.name)
        return cls(network, tokenizer, source)

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
            parameters=sum(p.numel() for p in self.network.parameters()),
            dtype=str(next(self.network.parameters()).dtype).removeprefix("torch."),
            device=str(self.device),
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Show the exact text that the model reads."""
        return self.encoder.render(messages)

    @torch.inference_mode()
    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation; each prompt is read once, whatever the number of options.

        A prompt and its continuations form a tree: trunk and branches lie side by side in one
        sequence, and the attention mask hides the branches from each other.

        Raises:
            ModelError: A score is not a number.
        """
        trees = self._trees(requests)
        scores: list[tuple[ContinuationScore, ...]] = [()] * len(trees)
        for batch in within_budget([len(t) for t in trees], TOKEN_BUDGET, self.batch):
            picked = self._score_batch([trees[i] for i in batch])
            for index, row in zip(batch, picked, strict=True):
                scores[index] = row
        return scores

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Answer freely, in batches padded on the left."""
        torch.manual_seed(decoding.seed)
        prompts = self.encoder.prompts([r.messages for r in requests])
        answers: list[Generation] = [Generation("", 0, False)] * len(prompts)
        room = [len(p) + decoding.max_new_tokens for p in prompts]
        for batch in within_budget(room, 4 * TOKEN_BUDGET, self.batch):
            for index, answer in zip(
                batch, self._generate_batch([prompts[i] for i in batch], decoding), strict=True
            ):
                answers[index] = answer
        return answers

    def _generate_batch(self, prompts: list[list[int]], decoding: Decoding) -> list[Generation]:
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.encoder.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        sampling: dict[str, Any] = {"do_sample": False}
        if decoding.temperature > 0:
            sampling = {
                "do_sample": True,
                "temperature": decoding.temperature,
                "top_p": decoding.top_p,
            }
        out = self.network.generate(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=list(self.encoder.stops),
            pad_token_id=self.encoder.pad,
            **sampling,
        )
        return [self._cut(row[width:].tolist()) for row in out]

    def _cut(self, tokens: list[int]) -> Generation:
        """Cut an answer where the model ended it."""
        ends = [i for i, token in enumerate(tokens) if token in self.encoder.stops]
        kept = tokens[: ends[0]] if ends else tokens
        text = self.encoder.tokenizer.decode(kept, skip_special_tokens=True).strip()
        return Generation(text, len(kept), bool(ends))

    def _trees(self, requests: Sequence[ScoreRequest]) -> list[Tree]:
        prompts = self.encoder.prompts([r.messages for r in requests])
        trees = []
        for request, prompt in zip(requests, prompts, strict=True):
            turns = [request.lead + text for text in request.continuations]
            answers = self.encoder.answers(turns, request.lead)
            trees.append(Tree.grow(prompt, answers, request.continuations))
        return trees

    def _score_batch(self, trees: list[Tree]) -> list[tuple[ContinuationScore, ...]]:
        """Score trees in one forward pass."""
        width = max(map(len, trees))
        ids = torch.full((len(trees), width), self.encoder.pad)
        branch = torch.zeros_like(ids)
        places = torch.zeros_like(ids)
        rows: list[int] = []
        targets: list[int] = []
        owners: list[int] = []
        for index, tree in enumerate(trees):
            ids[index, : len(tree)] = torch.tensor(tree.tokens)
            branch[index, : len(tree)] = torch.tensor(tree.branch)
            places[index, : len(tree)] = torch.tensor(tree.places)
            for option, terms in enumerate(tree.terms):
                for position, target in terms:
                    rows.append(index * width + position)
                    targets.append(target)
                    owners.append(index * MAX_OPTIONS + option)
        plain = all(tree.bare for tree in trees)
        values = self._token_logprobs(
            ids, rows, targets, None if plain else branch, None if plain else places
        )
        sums = torch.zeros(len(trees) * MAX_OPTIONS, dtype=torch.float64)
        sums.index_add_(0, torch.tensor(owners), values.double())
        if not torch.isfinite(sums).all():
            raise ModelError(
                f"{self.source.name} gives scores that are not numbers",
                fix="weights may be damaged, or overflow in float16: try --dtype float32",
            )
        table = sums.view(len(trees), -1).tolist()
        return [
            tuple(
                ContinuationScore(total, len(terms), size)
                for total, terms, size in zip(row, tree.terms, tree.sizes, strict=False)
            )
            for row, tree in zip(table, trees, strict=True)
        ]

    def _token_logprobs(
        self,
        ids: Tensor,
        rows: list[int],
        targets: list[int],
        branch: Tensor | None,
        places: Tensor | None,
    ) -> Tensor:
        """Return log P(target) for each (row, target), `[row]`, fp32.

        Options share positions (four letters are read off one), so the head sees each once.
        """
        positions, inverse = torch.unique(torch.tensor(rows), return_inverse=True)
        mask = None if branch is None else self._tree_mask(branch)
        head = AnswerHead(self.network)
        wanted = torch.tensor(targets)
        values = torch.empty(len(rows))
        states = head.states(
            ids.to(self.device),
            positions.to(self.device),
            attention_mask=mask,
            position_ids=None if places is None else places.to(self.device),
        )
        for start in range(0, len(positions), HEAD_ROWS):
            part = head.logits(states[start : start + HEAD_ROWS]).float()
            here = (inverse >= start) & (inverse < start + HEAD_ROWS)
            local = (inverse[here] - start).to(self.device)
            picked = part[local, wanted[here].to(self.device)]
            values[here] = (picked - part.logsumexp(-1)[local]).cpu()
        return values

    def _tree_mask(self, branch: Tensor) -> Tensor:
        """Let every token see the trunk and its own branch, before it; additive, `[b, 1, q, k]`."""
        branch = branch.to(self.device)
        width = branch.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=self.device).tril()
        key, query = branch[:, None, :], branch[:, :, None]
        allowed = causal & ((key == 0) | (key == query))
        dtype = next(self.network.parameters()).dtype
        mask = torch.zeros(allowed.shape, dtype=dtype, device=self.device)
        return mask.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)
