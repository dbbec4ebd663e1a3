"""Score log-probabilities of continuations, computing shared tokens once.

Three things are shared.  The common prefix of all prompts with the same opening (system message,
worked examples) is computed once and cached as keys and values (`PrefixCache`).  The tokens shared
by the orders and options of one question occur once in a row (`TokenTrie`).  A position that
predicts several scored tokens, such as four letters, goes through the output head once.  The first
two need full attention in every layer; for other models every path has a row of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import torch
from torch import Tensor

from medtune.core.errors import ModelError
from medtune.core.protocols import ContinuationScore, Message, ScoreRequest
from medtune.core.token_batching import batch_by_token_budget, common_prefix_length
from medtune.core.token_trie import ScoredSequence, TokenTrie
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.local.prefix_cache import CachedPrefix, PrefixCache
from medtune.models.local.selected_logits import AnswerHead, has_full_attention, relative_tolerance

HEAD_ROWS = 512
"""Rows of logits at once: 512 x 49,152 in fp32 are 100 MB."""
MIN_PREFIX_QUESTIONS = 4
"""Fewest questions with one opening for which a prefix is cached."""


class Scorer:
    """Scores continuations under a transformers model whose weights do not change.

    Args:
        network: A causal language model, with or without LoRA layers.
        encoder: Its chat template.
        name: Model name in messages.
        budget: Most positions in one forward pass.
    """

    def __init__(self, network: Any, encoder: ChatEncoder, name: str, budget: int) -> None:
        self._network = network
        self._head = AnswerHead(network)
        self._encoder = encoder
        self._name = name
        self._budget = budget
        self._prefixes = PrefixCache(network) if self._supports_branching() else None

    @torch.inference_mode()
    def _supports_branching(self) -> bool:
        """Return whether a branch after a prefix scores as if it were alone, by a numeric test.

        This fails for layers without full attention, and for models with their own position ids
        or masks.
        """
        if not has_full_attention(self._network.config):
            return False
        opening = list(range(3, 11))
        branches = ([*opening[::-1], *opening], [5, 4, 3])
        sequences = [ScoredSequence((*opening, *some, 3), len(opening + some)) for some in branches]
        alone = [
            self._sum_logprobs([TokenTrie.from_sequences([sequence])], None)[0][0]
            for sequence in sequences
        ]
        prefix = CachedPrefix(self._network, opening)
        together = self._sum_logprobs([TokenTrie.from_sequences(sequences, len(prefix))], prefix)[0]
        close = relative_tolerance(self._network)
        return torch.allclose(torch.tensor(together), torch.tensor(alone), rtol=close)

    @torch.inference_mode()
    def score(
        self, requests: Sequence[ScoreRequest], batch: int
    ) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation of every request.

        Consecutive requests with the same id (the orders of one question) share a row.

        Args:
            requests: Requests to score.
            batch: Most rows in one forward pass.

        Raises:
            ModelError: A score is not a number.
        """
        sequences = self._encode_continuations(requests)
        found: dict[tuple[int, int], float] = {}
        for opening, rows in self._group_by_opening(requests):
            members = [sequences[place] for row in rows for place in row]
            prefix = self._find_prefix(opening, members)
            parts = [part for row in rows for part in self._group_by_trie(row, sequences)]
            tries = [
                TokenTrie.from_sequences(
                    [sequences[place][i] for place, i in part], len(prefix or ())
                )
                for part in parts
            ]
            for batched in batch_by_token_budget([len(t) for t in tries], self._budget, batch):
                sums = self._sum_logprobs([tries[at] for at in batched], prefix)
                for at, values in zip(batched, sums, strict=True):
                    found.update(zip(parts[at], values, strict=True))
        return [
            tuple(
                ContinuationScore(
                    found[place, i],
                    len(sequence.tokens) - sequence.first,
                    len(text.strip().encode()),
                )
                for i, (sequence, text) in enumerate(
                    zip(sequences[place], request.continuations, strict=True)
                )
            )
            for place, request in enumerate(requests)
        ]

    def _group_by_trie(
        self, row: Sequence[int], sequences: Sequence[Sequence[ScoredSequence]]
    ) -> list[list[tuple[int, int]]]:
        """Group the (request, option) pairs of a row by trie: one if branching is supported."""
        members = [(place, i) for place in row for i in range(len(sequences[place]))]
        if self._prefixes is not None:
            return [members]
        paths: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for place, i in members:
            paths[sequences[place][i].tokens[:-1]].append((place, i))
        return list(paths.values())

    def _encode_continuations(self, requests: Sequence[ScoreRequest]) -> list[list[ScoredSequence]]:
        """Encode every continuation after its prompt, `[request][option]`."""
        prompts = self._encoder.encode_prompts([r.messages for r in requests])
        encoded = iter(
            self._encoder.encode_continuations(
                [p for r, p in zip(requests, prompts, strict=True) for _ in r.continuations],
                [r.lead for r in requests for _ in r.continuations],
                [text for r in requests for text in r.continuations],
            )
        )
        return [list(islice(encoded, len(request.continuations))) for request in requests]

    def _group_by_opening(
        self, requests: Sequence[ScoreRequest]
    ) -> Iterator[tuple[tuple[Message, ...] | None, list[list[int]]]]:
        """Group requests by the messages before the question.

        Yields:
            The opening and its rows, each a list of request indices; None collects all openings
            that are too rare for a cached prefix.
        """
        groups: dict[tuple[Message, ...], list[list[int]]] = defaultdict(list)
        for _, some in groupby(enumerate(requests), key=lambda r: (r[1].id, r[1].messages[:-1])):
            places = [place for place, _ in some]
            groups[requests[places[0]].messages[:-1]].append(places)
        rare: list[list[int]] = []
        for opening, rows in groups.items():
            if len(rows) < MIN_PREFIX_QUESTIONS:
                rare += rows
            else:
                yield opening, rows
        if rare:
            yield None, rare

    def _find_prefix(
        self, opening: tuple[Message, ...] | None, members: Sequence[Sequence[ScoredSequence]]
    ) -> CachedPrefix | None:
        """Return the cached common prefix, without the token that predicts the first score."""
        if self._prefixes is None or len(members) < MIN_PREFIX_QUESTIONS:
            return None
        sequences = [sequence.tokens for row in members for sequence in row]
        shared = common_prefix_length(min(sequences), max(sequences))
        shared = min(shared, *(sequence.first - 1 for row in members for sequence in row))
        return self._prefixes.get_or_compute(opening, sequences[0][:shared])

    def _sum_logprobs(
        self, tries: Sequence[TokenTrie], prefix: CachedPrefix | None
    ) -> list[list[float]]:
        """Sum the log-probabilities of every sequence, `[trie][sequence]`, in one forward pass."""
        width = max(map(len, tries))
        ids = torch.full((len(tries), width), self._encoder.pad)
        # A pad attends to itself only, and nothing attends to it.
        ends = torch.arange(1, width + 1).repeat(len(tries), 1)
        places = torch.zeros_like(ids)
        rows: list[int] = []
        targets: list[int] = []
        owners: list[int] = []
        count = 0
        for index, trie in enumerate(tries):
            ids[index, : len(trie)] = torch.tensor(trie.tokens)
            ends[index, : len(trie)] = torch.tensor(trie.ends)
            places[index, : len(trie)] = torch.tensor(trie.places)
            for terms in trie.terms:
                for position, target in terms:
                    rows.append(index * width + position)
                    targets.append(target)
                    owners.append(count)
                count += 1
        bare = all(trie.is_single_path for trie in tries)
        values = self._logprobs(ids, None if bare else ends, places, prefix, rows, targets)
        sums = torch.zeros(count, dtype=torch.float64)
        sums.index_add_(0, torch.tensor(owners), values.double())
        if not torch.isfinite(sums).all():
            raise ModelError(
                f"{self._name} gives scores that are not numbers",
                fix="weights may be damaged, or overflow in float16: try --dtype float32",
            )
        flat = iter(sums.tolist())
        return [[next(flat) for _ in trie.terms] for trie in tries]

    def _logprobs(
        self,
        ids: Tensor,
        ends: Tensor | None,
        places: Tensor,
        prefix: CachedPrefix | None,
        rows: list[int],
        targets: list[int],
    ) -> Tensor:
        """Return log P(target) for each (row, target), `[row]`, fp32."""
        device = next(self._network.parameters()).device
        # Options share positions (one predicts four letters), so each goes through the head once.
        positions, inverse = torch.unique(torch.tensor(rows), return_inverse=True)
        wanted = torch.tensor(targets)
        values = torch.empty(len(rows))
        plain = ends is None and prefix is None
        states = self._head.states(
            ids.to(device),
            positions.to(device),
            attention_mask=None if plain else self._mask(ends, ids.shape[1], len(prefix or ())),
            position_ids=None if plain else (places + len(prefix or ())).to(device),
            past=prefix.expand(len(ids)) if prefix is not None else None,
        )
        for start in range(0, len(positions), HEAD_ROWS):
            part = self._head.exact_logits(states[start : start + HEAD_ROWS])
            here = (inverse >= start) & (inverse < start + HEAD_ROWS)
            local = (inverse[here] - start).to(device)
            picked = part[local, wanted[here].to(device)]
            values[here] = (picked - part.logsumexp(-1)[local]).cpu()
        return values

    def _mask(self, ends: Tensor | None, width: int, before: int) -> Tensor:
        """Return a mask of the prefix and each token's own path; additive, `[b, 1, q, before + k]`.

        Args:
            ends: `[b, k]`, where each token's subtree ends; None is one path per row.
            width: Tokens in a row.
            before: Tokens in the prefix.
        """
        parameter = next(self._network.parameters())
        place = torch.arange(width, device=parameter.device)
        allowed = (place[None, :] <= place[:, None]).unsqueeze(0)
        if ends is not None:
            allowed = allowed & (place[None, :, None] < ends.to(parameter.device)[:, None, :])
        shape = (len(allowed), 1, width, before + width)
        mask = torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)
        mask[..., before:].masked_fill_(~allowed.unsqueeze(1), torch.finfo(mask.dtype).min)
        return mask
