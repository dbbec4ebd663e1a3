"""Keep one adapter pool per base model; torch is imported with the first pool."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from medtune.hub.progress_bars import restore_progress_bars
from medtune.models.sources import ModelSource

if TYPE_CHECKING:
    from medtune.models.adapters.adapter_pool import AdapterPool, PooledModel


class AdapterPools:
    """Adapter pools by base model."""

    def __init__(self) -> None:
        self._pools: dict[str, AdapterPool] = {}
        self._turn = threading.Lock()

    @restore_progress_bars()
    def load_adapter(self, base: ModelSource, name: str, folder: Path) -> PooledModel:
        """Load an adapter; its base model is loaded once for all of them.

        Args:
            base: The base model.
            name: Name in the pool; an adapter that is loaded already is not read again.
            folder: The adapter.

        Raises:
            AdapterError: It cannot be read, or belongs to another base.
            ModelError: The base cannot be read.
        """
        from medtune.models.adapters.adapter_pool import AdapterPool
        from medtune.models.local.local_model import LocalModel

        with self._turn:
            pool = self._pools.get(base.fingerprint) or AdapterPool(LocalModel.load(base), {})
            if name not in pool.adapter_names:
                pool.add(name, folder)
            self._pools[base.fingerprint] = pool
            return pool.get_model(name)

    def retain(self, names: Collection[str]) -> None:
        """Unload all adapters but these, and base models without an adapter left."""
        with self._turn:
            for base, pool in list(self._pools.items()):
                left = [name for name in pool.adapter_names if name not in names]
                if len(left) == len(pool.adapter_names):
                    del self._pools[base]
                    continue
                for name in left:
                    pool.remove(name)
