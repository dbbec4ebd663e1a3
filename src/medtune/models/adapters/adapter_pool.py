"""Serve several adapters over one base model in memory.

An adapter of a small rank is a few per cent of its base, so ten fine-tuned models take little more
memory than one.  They share the base weights and nothing else: each adapter has its own prefix
cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medtune.core.errors import UnknownModelError
from medtune.core.protocols import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import ModelDescription
from medtune.models.adapters import lora
from medtune.models.local.local_model import LocalModel


class AdapterPool:
    """A base model and the LoRA adapters that can be activated on it.

    Args:
        base: The model; its network is changed in place.
        folders: Adapter folders by name.

    Raises:
        AdapterError: One cannot be read, or belongs to another base.
    """

    def __init__(self, base: LocalModel, folders: Mapping[str, Path]) -> None:
        self._base = base
        self._peft: Any = None
        self._models: dict[str, LocalModel] = {}
        self._turn = threading.Lock()
        for name, folder in folders.items():
            self.add(name, folder)

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """Names of the loaded adapters."""
        return tuple(self._models)

    def add(self, name: str, folder: Path) -> None:
        """Load an adapter, replacing one of the same name; safe while requests are running.

        Raises:
            AdapterError: It cannot be read, or belongs to another base; an older adapter stays.
        """
        with self._turn:
            self._peft, self._models[name] = lora.add_adapter(self._base, self._peft, name, folder)

    def remove(self, name: str) -> None:
        """Unload an adapter and free its memory.

        Raises:
            UnknownModelError: There is none of that name.
        """
        with self._turn:
            self.get_local_model(name)
            del self._models[name]
            if self._models:  # the active adapter must not be deleted
                self._peft.set_adapter(next(iter(self._models)), inference_mode=True)
            self._peft.delete_adapter(name)

    def get_model(self, name: str | None) -> PooledModel:
        """Return an AnswerModel for one adapter; None is the base model.

        Raises:
            UnknownModelError: There is no adapter of that name.
        """
        self.get_local_model(name)
        return PooledModel(self, name)

    def get_local_model(self, name: str | None) -> LocalModel:
        """Return the LocalModel of an adapter without activating it.

        Raises:
            UnknownModelError: There is no adapter of that name.
        """
        if name is None:
            return self._base
        if name not in self._models:
            raise UnknownModelError(
                f"no adapter {name!r} is loaded",
                expected=f"one of {', '.join(self._models)}" if self._models else "the base model",
            )
        return self._models[name]

    @contextmanager
    def activate(self, name: str | None) -> Iterator[LocalModel]:
        """Activate an adapter and hold the lock on the base while it is used.

        Raises:
            UnknownModelError: The adapter was unloaded.
        """
        with self._turn:
            if name is not None:
                model = self.get_local_model(name)
                self._peft.set_adapter(name, inference_mode=True)
                yield model
            elif self._peft is None:
                yield self._base
            else:
                with self._peft.disable_adapter():
                    yield self._base


class PooledModel:
    """An AnswerModel: one adapter of a pool, or its base model."""

    def __init__(self, pool: AdapterPool, name: str | None) -> None:
        self._pool = pool
        self._name = name

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation; see `LocalModel.score`."""
        with self._pool.activate(self._name) as model:
            return model.score(requests)

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Generate answers; see `LocalModel.generate`."""
        with self._pool.activate(self._name) as model:
            return model.generate(requests, decoding)

    def render(self, messages: Sequence[Message]) -> str:
        """Render a prompt exactly as the model reads it."""
        return self._pool.get_local_model(self._name).render(messages)

    def describe(self) -> ModelDescription:
        """Describe the weights."""
        return self._pool.get_local_model(self._name).describe()
