"""Ask one model on several servers: each question goes to the least busy one that is alive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import httpx2

from medtune.core.errors import RemoteError, UnknownModelError
from medtune.core.progress import NoProgress, Progress
from medtune.core.protocols import Decoding, GenerateRequest, Generation, Message, ScoreRequest
from medtune.core.records import ModelDescription
from medtune.models.remote.http import is_retryable
from medtune.models.remote.name import split_servers
from medtune.models.remote.remote_model import RemoteModel, Scores

Item = TypeVar("Item")
Result = TypeVar("Result")


class RemotePool:
    """An AnswerModel that runs on several servers.

    A server that stays away is left out, and what it was asked is asked of the others; what was
    answered is not asked again.

    Args:
        name: Name of the model with all addresses.
        models: The model on each server.
        progress: Reports servers that are left out.

    Raises:
        UnknownModelError: The servers do not tell the same about their models.
    """

    def __init__(
        self, name: str, models: Sequence[RemoteModel], progress: Progress | None = None
    ) -> None:
        self.name = name
        self._models, self._progress = list(models), progress or NoProgress()
        self._asked = dict.fromkeys(range(len(models)), 0)
        """Questions under way, by place of the servers that are alive."""
        self._choosing = threading.Lock()
        first = models[0].describe().fingerprint
        for model in models[1:]:
            if model.describe().fingerprint != first:
                raise UnknownModelError(
                    f"{model.name.url} serves another model than {models[0].name.url}",
                    expected="servers that tell the same about their models",
                    fix="start all of them with the same weights and under the same name",
                )

    @classmethod
    def connect(
        cls, name: str, progress: Progress | None = None, parallel: int | None = None
    ) -> Self:
        """Connect to all servers of a model name; see `RemoteModel.connect`.

        Raises:
            ModelError: The name, a server, the model on it or the tokenizer cannot be used.
        """
        models = [RemoteModel.connect(one.name, progress, parallel) for one in split_servers(name)]
        return cls(name, models, progress)

    def check(self) -> None:
        """Check that a server is reachable.

        Raises:
            RemoteError: None can be reached.
        """
        self._ask(lambda model, _: model.check(), None)

    def describe(self) -> ModelDescription:
        """Describe the model by what its servers tell about it."""
        hosts = ", ".join(model.name.host for model in self._models)
        return self._models[0].describe().model_copy(update={"source": self.name, "device": hosts})

    def render(self, messages: Sequence[Message]) -> str:
        """Render the prompt that the model reads; see `RemoteModel.render`."""
        return self._ask(lambda model, one: model.render(one), messages)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Score every continuation; see `RemoteModel.score`.

        Raises:
            RemoteError: No server is left, or one refuses.
            TemplateError: See `RemoteModel.score`.
        """
        return self._map(lambda model, request: model.score([request])[0], requests)

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Generate answers; see `RemoteModel.generate`.

        Raises:
            RemoteError: No server is left, or one refuses.
        """
        return self._map(lambda model, one: model.generate([one], decoding)[0], requests)

    def _map(
        self, work: Callable[[RemoteModel, Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        parallel = sum(model.parallel for model in self._models)
        with ThreadPoolExecutor(parallel) as threads:
            return list(threads.map(lambda item: self._ask(work, item), items))

    def _ask(self, work: Callable[[RemoteModel, Item], Result], item: Item) -> Result:
        """Ask the least busy server; when it is gone, another one."""
        while True:
            with self._choosing:
                place = min(self._asked, key=lambda at: self._asked[at])
                self._asked[place] += 1
            model = self._models[place]
            try:
                return work(model, item)
            except RemoteError as error:
                if not _is_gone(error) or not self._leave_out(place, error):
                    raise
            finally:
                with self._choosing:
                    if place in self._asked:
                        self._asked[place] -= 1

    def _leave_out(self, place: int, error: RemoteError) -> bool:
        """Leave a server out; False if it is the last one."""
        with self._choosing:
            if place not in self._asked:
                return True
            if len(self._asked) == 1:
                return False
            del self._asked[place]
            left = len(self._asked)
        self._progress.log_message(f"left out, {left} servers go on: {error.found}")
        return True


def _is_gone(error: RemoteError) -> bool:
    """Return whether a server does not answer, or fails for good."""
    if error.status is not None:
        return is_retryable(error.status)
    return isinstance(error.__cause__, httpx2.TransportError)
