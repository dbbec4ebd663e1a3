"""What many prompts begin with (system message, worked examples), read once and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from medtune.models.light.decoder import Cache, Decoder

SHORTEST = 8
"""Tokens; a shorter beginning costs less to read again than to keep."""
SLACK = 16
"""Tokens by which a kept beginning may be shorter than what some prompts share by chance."""
BUDGET_BYTES = 512 << 20
"""Of keys and values that are kept."""


class CachedPrefix:
    """Keys and values of some tokens, per layer `[1, head, token, width]`."""

    def __init__(self, network: Any, tokens: list[int]) -> None:
        device = next(network.parameters()).device
        self._cache_type = cache_type(network)
        cache = self._cache_type()
        ids = torch.tensor([tokens], device=device)
        network.get_decoder()(input_ids=ids, past_key_values=cache, use_cache=True)
        self.tokens = tokens
        self._layers: list[tuple[Tensor, Tensor]] = [(c.keys, c.values) for c in cache.layers]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return sum(k.nbytes + v.nbytes for k, v in self._layers)

    def cache(self, batch: int) -> Any:
        """Make a cache that a forward pass over `batch` rows can go on from."""
        return self._cache_type(
            [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in self._layers]
        )


def cache_type(network: Any) -> Any:
    """Find which cache a network goes on from."""
    if isinstance(network, Decoder):
        return Cache
    from transformers import DynamicCache

    return DynamicCache


class PrefixCache:
    """Beginnings kept by what they open, the least used dropped first."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._kept: OrderedDict[Hashable, CachedPrefix] = OrderedDict()

    def of(self, opening: Hashable, shared: Sequence[int]) -> CachedPrefix | None:
        """Find or read the beginning of some prompts.

        Args:
            opening: What names it: the messages before the question.
            shared: Tokens with which all of these prompts begin.

        Returns:
            A beginning of `shared`; None where it is not worth it.
        """
        kept = self._kept.get(opening)
        fits = kept is not None and kept.tokens == list(shared[: len(kept)])
        if kept is None or not fits or len(kept) + SLACK < len(shared):
            if len(shared) < SHORTEST:
                return None
            kept = CachedPrefix(self._network, list(shared))
            self._kept[opening] = kept
        self._kept.move_to_end(opening)
        while len(self._kept) > 1 and sum(p.size_bytes for p in self._kept.values()) > BUDGET_BYTES:
            self._kept.popitem(last=False)
        return kept
