"""Several adapters over one base in memory; each request says which of them answers.

An adapter of a small rank is a few per cent of its base, so ten fine-tuned models take little more
room than one.  They share the base's weights and nothing else: what a prompt's beginning was read
as is kept for each of them apart.
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
    """A base model, and adapters that can be put on and taken off it.

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
    def names(self) -> tuple[str, ...]:
        """What can be asked for, beside the base."""
        return tuple(self._models)

    def add(self, name: str, folder: Path) -> None:
        """Put an adapter on the shelf, in place of one of that name; requests may be under way.

        Raises:
            AdapterError: It cannot be read, or belongs to another base; an older one stays.
        """
        with self._turn:
            self._peft, self._models[name] = lora.load_beside(self._base, self._peft, name, folder)

    def remove(self, name: str) -> None:
        """Take an adapter off the shelf, and free its memory.

        Raises:
            UnknownModelError: There is none of that name.
        """
        with self._turn:
            self.at(name)
            del self._models[name]
            if self._models:  # who is deleted must not be the one that is on
                self._peft.set_adapter(next(iter(self._models)), inference_mode=True)
            self._peft.delete_adapter(name)

    def model(self, name: str | None) -> PooledModel:
        """Choose who answers; None is the base itself.

        Raises:
            UnknownModelError: There is no adapter of that name.
        """
        self.at(name)
        return PooledModel(self, name)

    def at(self, name: str | None) -> LocalModel:
        """Look at one of them, without having it answer.

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
    def put_on(self, name: str | None) -> Iterator[LocalModel]:
        """Let one of them have the base for itself.

        Raises:
            UnknownModelError: The adapter was taken off the shelf.
        """
        with self._turn:
            if name is not None:
                model = self.at(name)
                self._peft.set_adapter(name, inference_mode=True)
                yield model
            elif self._peft is None:
                yield self._base
            else:
                with self._peft.disable_adapter():
                    yield self._base


class PooledModel:
    """An AnswerModel: one adapter of a shelf, or its base."""

    def __init__(self, shelf: AdapterPool, name: str | None) -> None:
        self._shelf = shelf
        self._name = name

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation; see `LocalModel.score`."""
        with self._shelf.put_on(self._name) as model:
            return model.score(requests)

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Answer freely; see `LocalModel.generate`."""
        with self._shelf.put_on(self._name) as model:
            return model.generate(requests, decoding)

    def render(self, messages: Sequence[Message]) -> str:
        """Show the exact text that the model reads."""
        return self._shelf.at(self._name).render(messages)

    def describe(self) -> ModelDescription:
        """Say which weights these are."""
        return self._shelf.at(self._name).describe()
