"""Cache the keys and values of prompt prefixes (system message, worked examples)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from medtune.models.light.decoder import Decoder, DecoderCache

MIN_PREFIX_TOKENS = 8
"""Shortest prefix that is cached; a shorter one is cheaper to compute again."""
MAX_UNCACHED_TOKENS = 16
"""Most tokens by which a cached prefix may be shorter than what the prompts share."""
MAX_CACHE_BYTES = 512 << 20
"""Most memory of cached keys and values."""


class CachedPrefix:
    """Keys and values of some tokens, per layer `[1, head, token, width]`."""

    def __init__(self, network: Any, tokens: list[int]) -> None:
        device = next(network.parameters()).device
        self._cache_type = find_cache_class(network)
        cache = self._cache_type()
        ids = torch.tensor([tokens], device=device)
        network.get_decoder()(input_ids=ids, past_key_values=cache, use_cache=True)
        self.tokens = tokens
        self._layers: list[tuple[Tensor, Tensor]] = [(c.keys, c.values) for c in cache.layers]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def size_bytes(self) -> int:
        """Size in memory, bytes."""
        return sum(k.nbytes + v.nbytes for k, v in self._layers)

    def expand(self, batch: int) -> Any:
        """Return a key-value cache for a forward pass over `batch` rows."""
        return self._cache_type(
            [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in self._layers]
        )


def find_cache_class(network: Any) -> Any:
    """Return the class of a network's key-value cache."""
    if isinstance(network, Decoder):
        return DecoderCache
    from transformers import DynamicCache

    return DynamicCache


class PrefixCache:
    """LRU cache of prefixes by opening."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._kept: OrderedDict[Hashable, CachedPrefix] = OrderedDict()

    def get_or_compute(self, opening: Hashable, shared: Sequence[int]) -> CachedPrefix | None:
        """Return the cached prefix of some prompts, computing it if needed.

        Args:
            opening: Key: the messages before the question.
            shared: Tokens that all of these prompts begin with.

        Returns:
            A prefix of `shared`; None if it is too short to cache.
        """
        kept = self._kept.get(opening)
        fits = kept is not None and kept.tokens == list(shared[: len(kept)])
        if kept is None or not fits or len(kept) + MAX_UNCACHED_TOKENS < len(shared):
            if len(shared) < MIN_PREFIX_TOKENS:
                return None
            kept = CachedPrefix(self._network, list(shared))
            self._kept[opening] = kept
        self._kept.move_to_end(opening)
        while (
            len(self._kept) > 1 and sum(p.size_bytes for p in self._kept.values()) > MAX_CACHE_BYTES
        ):
            self._kept.popitem(last=False)
        return kept
