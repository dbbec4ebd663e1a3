"""Run work on rank 0 and shard its model calls over all ranks.

Only rank 0 reads saved predictions, writes files and prints.  The other ranks wait for requests,
answer their share, and receive the result at the end, so that all ranks stay in step.  With a
single process torch is not loaded.
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
from medtune.core.run_folder import lock_folder

T = TypeVar("T")
Request = ScoreRequest | GenerateRequest


def world_size() -> int:
    """Return the number of processes that `accelerate launch` or `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return whether this process is rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def lock_on_main(folder: Path) -> Iterator[None]:
    """Lock a run folder on rank 0.

    Raises:
        FolderError: Another run has locked it, or it cannot be written.
    """
    if not is_main():
        yield
        return
    with lock_folder(folder):
        yield


def run_on_main(work: Callable[[], T]) -> T:
    """Run `work` on rank 0 and return its result on every rank.

    Raises:
        MedtuneError: Raised by `work`, on rank 0.
        ModelError: On the other ranks, if `work` failed.
    """
    return run_distributed(None, lambda _: work())


def run_distributed(model: AnswerModel | None, work: Callable[[Any], T]) -> T:
    """Run `work` on rank 0 only; its model calls are sharded over all ranks.

    Args:
        model: The same on every rank; None if the work needs no model.
        work: Called with the model, on rank 0 only.

    Returns:
        The result of `work`, on every rank.

    Raises:
        MedtuneError: Raised by `work`, on rank 0.
        ModelError: A rank could not answer; on the other ranks also if `work` failed.
    """
    if world_size() == 1:
        return work(model)
    # Initialises the process group, unless that was done before.
    from medtune.training.processes import join_processes

    here = join_processes()
    if not here.is_main_process:
        return _serve_model_calls(model)  # type: ignore[no-any-return]
    try:
        done = work(DistributedModel(model) if model is not None else None)
    except BaseException as error:
        with suppress(RuntimeError):  # the other ranks may have exited already
            _broadcast(_Failed(str(error) or type(error).__name__))
        raise
    _broadcast(_Done(done))
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


class DistributedModel:
    """An AnswerModel on rank 0 whose requests are sharded over all ranks."""

    def __init__(self, model: AnswerModel) -> None:
        self._model = model

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score the requests, sharded over all ranks."""
        return _call_all_ranks(self._model, _ModelCall(requests, None))

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Generate answers, sharded over all ranks."""
        return _call_all_ranks(self._model, _ModelCall(requests, decoding))

    def render(self, messages: Sequence[Message]) -> str:
        """Render a prompt exactly as the model reads it."""
        return self._model.render(messages)

    def describe(self) -> ModelDescription:
        """Describe the weights."""
        return self._model.describe()


def _serve_model_calls(model: AnswerModel | None) -> Any:
    """Answer shards of requests until rank 0 has finished."""
    while True:
        order = _broadcast(None)
        if isinstance(order, _Done):
            return order.outcome
        if isinstance(order, _Failed):
            raise ModelError(f"the first process failed: {order.why}")
        assert model is not None, "work without a model makes no model calls"
        _gather_on_main(_call_own_share(model, order))


def _call_all_ranks(model: AnswerModel, order: _ModelCall) -> list[Any]:
    """Run a model call on all ranks and merge the shards in request order."""
    _broadcast(order)
    shares = _gather_on_main(_call_own_share(model, order))
    assert shares is not None, "the first process gathers"
    for rank, share in enumerate(shares):
        if isinstance(share, _Failed):
            raise ModelError(f"process {rank} of {len(shares)} failed: {share.why}")
    return [answer for share in shares for answer in share]


def _call_own_share(model: AnswerModel, order: _ModelCall) -> list[Any] | _Failed:
    """Answer this rank's shard; an error is returned, so that no other rank waits for ever."""
    from torch import distributed

    mine = split_requests(order.requests, distributed.get_world_size())[distributed.get_rank()]
    some: Any = order.requests[mine]
    try:
        if order.decoding is None:
            return list(model.score(some))
        return list(model.generate(some, order.decoding))
    except Exception as error:  # noqa: BLE001  rank 0 raises it, whatever it is
        return _Failed(str(error) or type(error).__name__)


def split_requests(requests: Sequence[Request], count: int) -> list[slice]:
    """Split requests into `count` slices of about equal length; one question is never split."""
    sizes = [len(list(some)) for _, some in groupby(requests, key=lambda request: request.id)]
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    edges = [starts[part * len(sizes) // count] for part in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _broadcast(order: Any) -> Any:
    """Broadcast an object from rank 0; return it on every rank."""
    from torch import distributed

    box = [order]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def _gather_on_main(share: Any) -> list[Any] | None:
    """Gather the shards on rank 0; return None on the other ranks."""
    from torch import distributed

    shares = [None] * distributed.get_world_size() if is_main() else None
    distributed.gather_object(share, shares, dst=0)
    return shares
