"""The gradients of one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import nn

from medtune.core.errors import CheckFailed, ModelError
from medtune.core.progress import Progress
from medtune.core.protocols import Example
from medtune.core.token_batching import PASS_COST, within_budget
from medtune.training.collate import collate, supervised, under
from medtune.training.job import Job, TrainingProgress
from medtune.training.losses import token_losses
from medtune.training.sharding import sharded

ON_CPU = 2048
ON_GPU = 16384
"""Positions in a forward pass, unless an experiment says otherwise; on a GPU not measured yet."""


class Step:
    """Adds up the gradients of optimizer steps, pass by pass."""

    def __init__(
        self, job: Job, accelerator: Accelerator, head: nn.Module, progress: Progress
    ) -> None:
        self._job = job
        self._accelerator = accelerator
        self._head = head
        self._progress = progress
        default = ON_CPU if accelerator.device.type == "cpu" else ON_GPU
        self._full = self._budget = job.settings.token_budget or default

    def take(self, members: list[Example], tally: TrainingProgress) -> float:
        """Add up the gradients of a step; return its mean loss, nats per token.

        Raises:
            ModelError: Memory is short, with passes of half the size as well.
            CheckFailed: The loss is not a number.
        """
        while True:
            try:
                loss, positions = self._passes(members)
                break
            except RuntimeError as error:
                # One of several processes cannot begin a step again: the others are in it.
                if self._accelerator.num_processes > 1 or not _is_out_of_memory(error):
                    raise
                self._halve(error)
        if not math.isfinite(loss):
            raise CheckFailed(
                f"the loss of step {tally.step + 1} is {loss}",
                expected="a finite number",
                fix="lower training.learning_rate; the last good checkpoint is in "
                f"{self._job.folder}",
            )
        tally.positions += positions
        tally.tokens += sum(len(example.tokens) for example in members)
        tally.examples += len(members)
        return loss

    def _passes(self, members: list[Example]) -> tuple[float, int]:
        """Go forward and back over this process's share; return loss and positions of all.

        The loss is divided by the supervised tokens of the whole step, so that cutting the step
        into smaller batches, or sharing it among processes, changes nothing but memory.
        """
        job, count = self._job, self._accelerator.num_processes
        seen = [under(job.settings.objective, example) for example in members]
        total = sum(len(supervised(example)) * example.weight for example in seen)
        passes = self._planned(seen)
        loss, positions = 0.0, 0
        for number, picked in enumerate(passes, 1):
            batch = collate(picked, self._accelerator.device)
            with self._gradients_stay() if number < len(passes) else nullcontext():
                logits = self._head(batch.tokens, batch.wanted, batch.lengths, batch.prefix)
                part = (token_losses(logits, batch) * batch.weights).sum() / total
                # Processes take the mean of their gradients; the step needs the sum.
                self._accelerator.backward(part * count)
            loss += part.item()
            positions += batch.positions(job.packs)
        if count == 1:
            return loss, positions
        found = torch.tensor([loss, positions], dtype=torch.float64, device=part.device)
        loss, positions = self._accelerator.reduce(found, "sum").tolist()
        return loss, int(positions)

    def _planned(self, seen: Sequence[Example]) -> list[list[Example]]:
        """Cut this process's share of a step into passes.

        Every process goes back at least once, or the others would wait for its gradients; and as
        often as any, where every pass needs a share of the weights from all.
        """
        count, rank = self._accelerator.num_processes, self._accelerator.process_index
        plans = [self._cut(seen[other::count]) for other in range(count)]
        passes = plans[rank]
        least = max(map(len, plans)) if sharded(self._head) else 1
        idle = replace(seen[0], weight=0.0)
        return passes + [[idle]] * (least - len(passes))

    def _cut(self, share: Sequence[Example]) -> list[list[Example]]:
        lengths = [len(example.tokens) for example in share]
        # Packed, a pass has no padding to save: the fewer, the better.
        pass_cost = self._budget if self._job.packs else PASS_COST
        cut = within_budget(lengths, self._budget, len(share), pass_cost)
        return [[share[i] for i in picked] for picked in cut]

    def _gradients_stay(self) -> AbstractContextManager[None]:
        """Add a pass's gradients up here; the last pass of a step sends them to the others."""
        context: AbstractContextManager[None] = self._accelerator.no_sync(self._head)
        return context

    def _halve(self, error: RuntimeError) -> None:
        """Go on with passes of half the size, once."""
        found = f"out of memory with {self._budget} positions in a pass"
        if self._budget < self._full:
            raise ModelError(
                found,
                fix="lower training.token_budget, or set training.recompute = true; the last good "
                f"checkpoint is in {self._job.folder}",
            ) from error
        self._budget //= 2
        self._progress.say(f"{found}: going on with {self._budget}")
        for parameter in self._job.parameters().values():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Tell it from other failures; on a CPU it has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
