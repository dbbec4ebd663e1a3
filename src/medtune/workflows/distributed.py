"""Several processes do the work of one: the first leads, and what it asks of a model is shared out.

Only the first process reads drafts, writes files and speaks.  The others wait for questions, answer
their share, and get the outcome at the end, so that all of them go on in step.  With one process
nothing of this happens, and torch is not loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, TypeVar

from medtune.core.errors import ModelError
from medtune.core.protocols import (
    AnswerModel,
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import ModelDescription
from medtune.core.run_folder import locked

T = TypeVar("T")
Request = ScoreRequest | GenerateRequest


def crew() -> int:
    """Count the processes that `accelerate launch` or `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Tell whether this is the first process, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run folder, in the first process.

    Raises:
        FolderError: Another run holds it, or it cannot be written.
    """
    if not leads():
        yield
        return
    with locked(folder):
        yield


def first(work: Callable[[], T]) -> T:
    """Let the first process do something, and tell all of them what came out.

    Raises:
        MedtuneError: The work's, in the first process.
        ModelError: In the others, where it failed.
    """
    return together(None, lambda _: work())


def together(model: AnswerModel | None, work: Callable[[Any], T]) -> T:
    """Let the first process work with a model whose answers all of them give.

    Args:
        model: The same in every process; None if the work needs none.
        work: Gets the model; done in the first process alone.

    Returns:
        What the work returned, in every process.

    Raises:
        MedtuneError: The work's, in the first process.
        ModelError: A process could not answer; and in the others, where the work failed.
    """
    if crew() == 1:
        return work(model)
    # The processes meet here, unless they met before.
    from medtune.training.processes import processes

    here = processes()
    if not here.is_main_process:
        return _follow(model)  # type: ignore[no-any-return]
    try:
        done = work(_Shared(model) if model is not None else None)
    except BaseException as error:
        with suppress(RuntimeError):  # the others may be gone, that being the error
            _tell(_Failed(str(error) or type(error).__name__))
        raise
    _tell(_Done(done))
    return done


@dataclass(frozen=True, slots=True)
class _Done:
    outcome: Any


@dataclass(frozen=True, slots=True)
class _Failed:
    why: str


@dataclass(frozen=True, slots=True)
class _ModelCall:
    requests: Sequence[Request]
    decoding: Decoding | None
    """None asks for scores."""


class _Shared:
    """A model, as the first process sees it: every question is answered by some process."""

    def __init__(self, model: AnswerModel) -> None:
        self._model = model

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score, every process its share."""
        return _gathered(self._model, _ModelCall(requests, None))

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Answer freely, every process its share."""
        return _gathered(self._model, _ModelCall(requests, decoding))

    def render(self, messages: Sequence[Message]) -> str:
        """Show the exact text that the model reads."""
        return self._model.render(messages)

    def describe(self) -> ModelDescription:
        """Say which weights these are."""
        return self._model.describe()


def _follow(model: AnswerModel | None) -> Any:
    """Answer shares of questions until the first process is done."""
    while True:
        order = _tell(None)
        if isinstance(order, _Done):
            return order.outcome
        if isinstance(order, _Failed):
            raise ModelError(f"the first process failed: {order.why}")
        assert model is not None, "work without a model asks nothing"
        _send(_answered(model, order))


def _gathered(model: AnswerModel, order: _ModelCall) -> list[Any]:
    """Have everyone answer, and put the shares together in the order of the requests."""
    _tell(order)
    shares = _send(_answered(model, order))
    assert shares is not None, "the first process gathers"
    for rank, share in enumerate(shares):
        if isinstance(share, _Failed):
            raise ModelError(f"process {rank} of {len(shares)} failed: {share.why}")
    return [answer for share in shares for answer in share]


def _answered(model: AnswerModel, order: _ModelCall) -> list[Any] | _Failed:
    """Answer this process's share; an error must not leave the others waiting."""
    from torch import distributed

    mine = cut(order.requests, distributed.get_world_size())[distributed.get_rank()]
    some: Any = order.requests[mine]
    try:
        if order.decoding is None:
            return list(model.score(some))
        return list(model.generate(some, order.decoding))
    except Exception as error:  # noqa: BLE001  the first process raises it, whatever it is
        return _Failed(str(error) or type(error).__name__)


def cut(requests: Sequence[Request], count: int) -> list[slice]:
    """Cut requests into so many runs of about one length; those of one question stay together."""
    sizes = [len(list(some)) for _, some in groupby(requests, key=lambda request: request.id)]
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    edges = [starts[part * len(sizes) // count] for part in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _tell(order: Any) -> Any:
    """Send an order from the first process to all; returns it everywhere."""
    from torch import distributed

    box = [order]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def _send(share: Any) -> list[Any] | None:
    """Send a share to the first process, which gets all of them."""
    from torch import distributed

    shares = [None] * distributed.get_world_size() if leads() else None
    distributed.gather_object(share, shares, dst=0)
    return shares
