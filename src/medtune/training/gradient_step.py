"""Accumulate the gradients of one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from medtune.core.errors import CheckFailed, ModelError
from medtune.core.experiment import TrainingConfig
from medtune.core.progress import Progress
from medtune.core.protocols import Example
from medtune.core.token_batching import FORWARD_PASS_COST, batch_by_token_budget
from medtune.training.collate import apply_objective, collate, count_tokens, loss_weight
from medtune.training.losses import compute_loss
from medtune.training.sharding import is_sharded
from medtune.training.trainable import Trainable, TrainingProgress

CPU_TOKEN_BUDGET = 2048
GPU_TOKEN_BUDGET = 16384
"""Default token positions of a forward pass; not measured on a GPU yet."""


class GradientStep:
    """Gradient accumulation over the forward passes of an optimizer step.

    Args:
        trainable: The model with its trainable weights.
        settings: `objective` and `token_budget`.
        accelerator: Distributes a step over processes.
        head: Forward pass, distributed.
        checkpoints: Folder that is named in errors.
        progress: Progress reports.
    """

    def __init__(
        self,
        trainable: Trainable,
        settings: TrainingConfig,
        accelerator: Accelerator,
        head: nn.Module,
        checkpoints: Path,
        progress: Progress,
    ) -> None:
        self._trainable = trainable
        self._objective = settings.objective
        self._smoothing = settings.label_smoothing
        self._accelerator = accelerator
        self._head = head
        self._checkpoints = checkpoints
        self._progress = progress
        default = CPU_TOKEN_BUDGET if accelerator.device.type == "cpu" else GPU_TOKEN_BUDGET
        self._full = self._budget = settings.token_budget or default

    def accumulate(self, members: list[Example], tally: TrainingProgress) -> float:
        """Accumulate the gradients of a step; return its mean loss, nats per token or question.

        Raises:
            ModelError: Out of memory, also with passes of half the size.
            CheckFailed: The loss is not a number.
        """
        while True:
            try:
                loss, positions = self._forward_backward(members)
                break
            except RuntimeError as error:
                # With several processes one cannot restart a step alone.
                if self._accelerator.num_processes > 1 or not _is_out_of_memory(error):
                    raise
                self._halve_budget(error)
        if not math.isfinite(loss):
            raise CheckFailed(
                f"the loss of step {tally.step + 1} is {loss}",
                expected="a finite number",
                fix="lower training.learning_rate; the last good checkpoint is in "
                f"{self._checkpoints}",
            )
        tally.positions += positions
        tally.tokens += sum(map(count_tokens, members))
        tally.examples += len(members)
        return loss

    def _forward_backward(self, members: list[Example]) -> tuple[float, int]:
        """Run forward and backward on this process's share; return total loss and positions.

        The loss is divided by the supervised tokens, or the questions, of the whole step, so that
        the number of passes or processes changes nothing but memory.
        """
        count = self._accelerator.num_processes
        seen = [apply_objective(self._objective, example) for example in members]
        total = sum(map(loss_weight, seen))
        packs = self._trainable.packs
        passes = self._plan_passes(seen)
        loss, positions = 0.0, 0
        for number, picked in enumerate(passes, 1):
            batch = collate(picked, self._accelerator.device, branches=packs)
            with self._no_gradient_sync() if number < len(passes) else nullcontext():
                logits = self._head(
                    batch.tokens, batch.wanted, batch.lengths, batch.prefix, batch.ends
                )
                part = compute_loss(logits, batch, self._smoothing) / total
                # DDP averages gradients over processes; the step needs the sum.
                self._accelerator.backward(part * count)
            loss += part.item()
            positions += batch.count_positions(packs)
        if count == 1:
            return loss, positions
        found = torch.tensor([loss, positions], dtype=torch.float64, device=part.device)
        loss, positions = self._accelerator.reduce(found, "sum").tolist()
        return loss, int(positions)

    def _plan_passes(self, seen: Sequence[Example]) -> list[list[Example]]:
        """Split this process's share of a step into passes.

        Every process needs at least one backward pass, or the others would wait for its gradients;
        with sharded weights all processes need the same number.
        """
        count, rank = self._accelerator.num_processes, self._accelerator.process_index
        plans = [self._split_into_passes(seen[other::count]) for other in range(count)]
        passes = plans[rank]
        least = max(map(len, plans)) if is_sharded(self._head) else 1
        idle = replace(seen[0], weight=0.0)
        return passes + [[idle]] * (least - len(passes))

    def _split_into_passes(self, share: Sequence[Example]) -> list[list[Example]]:
        lengths = [
            count_tokens(e) if self._trainable.packs else e.longest * (len(e.options) or 1)
            for e in share
        ]
        # A packed pass has no padding, so fewer passes are better.
        pass_cost = self._budget if self._trainable.packs else FORWARD_PASS_COST
        cut = batch_by_token_budget(lengths, self._budget, len(share), pass_cost)
        return [[share[i] for i in picked] for picked in cut]

    def _no_gradient_sync(self) -> AbstractContextManager[None]:
        """Disable gradient synchronisation; only the last pass of a step synchronises."""
        context: AbstractContextManager[None] = self._accelerator.no_sync(self._head)
        return context

    def _halve_budget(self, error: RuntimeError) -> None:
        """Halve the token budget of a pass, once."""
        found = f"out of memory with {self._budget} positions in a pass"
        if self._budget < self._full:
            raise ModelError(
                found,
                fix="lower training.token_budget, or set training.recompute = true; the last good "
                f"checkpoint is in {self._checkpoints}",
            ) from error
        self._budget //= 2
        self._progress.log_message(f"{found}: going on with {self._budget}")
        for parameter in self._trainable.parameters.values():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error is out-of-memory; on a CPU only its message says so."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
