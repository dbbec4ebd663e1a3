"""Bases in memory, and over each the adapters that are asked for; torch comes with the first."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from medtune.models.sources import ModelSource

if TYPE_CHECKING:
    from medtune.models.adapters.adapter_pool import AdapterPool, PooledModel


class AdapterPools:
    """One shelf for each base."""

    def __init__(self) -> None:
        self._shelves: dict[str, AdapterPool] = {}
        self._turn = threading.Lock()

    def model(self, base: ModelSource, name: str, folder: Path) -> PooledModel:
        """Open an adapter; its base is read once for all of them.

        Args:
            base: The model that it is for.
            name: Under which it stands on the shelf; one that is there already is not read again.
            folder: The adapter.

        Raises:
            AdapterError: It cannot be read, or belongs to another base.
            ModelError: The base cannot be read.
        """
        from medtune.models.adapters.adapter_pool import AdapterPool
        from medtune.models.local.local_model import LocalModel

        with self._turn:
            shelf = self._shelves.get(base.fingerprint) or AdapterPool(LocalModel.load(base), {})
            if name not in shelf.names:
                shelf.add(name, folder)
            self._shelves[base.fingerprint] = shelf
            return shelf.model(name)

    def keep(self, names: Collection[str]) -> None:
        """Free all adapters but some, and bases that carry none of these."""
        with self._turn:
            for base, shelf in list(self._shelves.items()):
                left = [name for name in shelf.names if name not in names]
                if len(left) == len(shelf.names):
                    del self._shelves[base]
                    continue
                for name in left:
                    shelf.remove(name)
