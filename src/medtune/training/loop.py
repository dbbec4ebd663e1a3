"""The training loop: every mechanism of a LoRA fine-tune, in the order in which it happens."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import Parameter

from medtune.core.batching import PASS_COST, epoch_order, within_budget
from medtune.core.errors import CheckFailed, EmptySplitError, Interrupted
from medtune.core.experiment import TrainingConfig
from medtune.core.model import Example
from medtune.core.progress import Progress
from medtune.core.records import LossPoint, MaskAudit, Question
from medtune.training import checkpoint
from medtune.training.collate import audit, collate
from medtune.training.optimizer import MasterAdamW
from medtune.training.schedule import rate_factor


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, on what."""

    head: nn.Module
    """(tokens, wanted, lengths, prefix) -> logits `[wanted, vocabulary]`; see `Batch`."""
    packs: bool
    """Whether `head` computes a batch end to end; else it pads."""
    parameters: Mapping[str, Parameter]
    """The trainable ones, by name."""
    questions: Sequence[Question]
    encode: Callable[[Question], Example]
    decode: Callable[[Sequence[int]], str]
    pad: int
    end: int
    settings: TrainingConfig
    seed: int
    folder: Path
    """Where checkpoints go."""
    inputs: str
    """Hash of all of the above; a checkpoint of other inputs is not resumed."""


@dataclass(slots=True)
class Tally:
    """What was done so far; part of a checkpoint."""

    step: int = 0
    tokens: int = 0
    positions: int = 0
    examples: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)
    """(loss, learning rate) per step."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a job."""

    weights: dict[str, Tensor]
    """fp32 masters by parameter name."""
    audit: MaskAudit
    losses: tuple[LossPoint, ...]
    steps: int
    examples: int
    tokens: int
    positions: int
    resumed_from: int | None
    duration_s: float
    fresh_examples: int
    """Examples of this process; with `duration_s` they give the speed."""
    fresh_tokens: int


def train(job: Job, progress: Progress) -> Trained:
    """Fine-tune.

    Every epoch is a pure function of the seed and its number, so a resumed run goes through the
    same steps as one that was never stopped.

    Raises:
        CheckFailed: The mask audit fails, or the loss is no longer a number.
        EmptySplitError: No example fits under `max_tokens`.
        Interrupted: Ctrl-C; a checkpoint was written.
        FolderError: A checkpoint cannot be written.
    """
    settings = job.settings
    accelerator = Accelerator(mixed_precision="no")
    head = accelerator.prepare(job.head)
    head.train()

    questions = _that_fit(job, progress)
    report = audit([job.encode(q) for q in questions], job.pad, job.end, job.decode)
    progress.say(
        f"mask audit: {report.supervised:,} of {report.tokens:,} tokens supervised, "
        f"{report.prompt_supervised} of them prompt, "
        f"{report.ends_supervised}/{report.examples} endings; sample:\n{report.sample}"
    )

    optimizer = MasterAdamW(job.parameters, settings.learning_rate, settings.weight_decay)
    per_epoch = -(-len(questions) // settings.batch_size)
    total = per_epoch * settings.epochs
    tally = Tally()
    torch.manual_seed(job.seed)
    resumed = _resume(job, optimizer, tally, progress)
    before = Tally(tally.step, tally.tokens, tally.positions, tally.examples)

    start = time.perf_counter()
    with progress.task("train", total, tally.step) as bar, _stop_request() as stop:
        for epoch in range(tally.step // per_epoch, settings.epochs):
            examples, steps = _epoch(job, questions, epoch)
            for members in steps[tally.step - epoch * per_epoch :]:
                factor = rate_factor(tally.step, total, settings.warmup_steps, settings.schedule)
                loss = _step(job, accelerator, head, [examples[i] for i in members], tally)
                optimizer.step(factor, settings.clip_norm)
                tally.step += 1
                tally.losses.append((loss, settings.learning_rate * factor))
                elapsed = time.perf_counter() - start
                rate = (tally.tokens - before.tokens) / elapsed
                bar.advance(1, loss=f"{loss:.3f}", speed=f"{rate:,.0f} tokens/s")
                if stop() or (tally.step % settings.save_every == 0 and tally.step < total):
                    _save(job, accelerator, optimizer, tally)
                if stop():
                    raise Interrupted(
                        f"stopped after step {tally.step} of {total}; a checkpoint was written",
                        fix="run the same command again to go on from there",
                    )
    return Trained(
        weights={name: master.detach().cpu() for name, master in optimizer.masters.items()},
        audit=report,
        losses=tuple(
            LossPoint(step=number, loss=loss, learning_rate=rate)
            for number, (loss, rate) in enumerate(tally.losses, 1)
        ),
        steps=total,
        examples=tally.examples,
        tokens=tally.tokens,
        positions=tally.positions,
        resumed_from=resumed,
        duration_s=time.perf_counter() - start,
        fresh_examples=tally.examples - before.examples,
        fresh_tokens=tally.tokens - before.tokens,
    )


def _step(
    job: Job, accelerator: Accelerator, head: nn.Module, members: list[Example], tally: Tally
) -> float:
    """Add up the gradients of one optimizer step; return its mean loss, nats per token.

    The loss is divided by the supervised tokens of the whole step, so that cutting the step
    into smaller batches changes nothing but memory.
    """
    supervised = sum(len(example.tokens) - example.prompt for example in members)
    lengths = [len(example.tokens) for example in members]
    loss = 0.0
    # Packed, a pass has no padding to save: the fewer, the better.
    pass_cost = job.settings.token_budget if job.packs else PASS_COST
    for picked in within_budget(lengths, job.settings.token_budget, len(members), pass_cost):
        batch = collate([members[i] for i in picked], accelerator.device)
        logits = head(batch.tokens, batch.wanted, batch.lengths, batch.prefix)
        part = nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
        part = part / supervised
        accelerator.backward(part)
        loss += part.item()
        tally.positions += batch.positions(job.packs)
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise CheckFailed(
            f"the loss of step {tally.step + 1} is {loss}",
            expected="a finite number",
            fix=f"lower training.learning_rate; the last good checkpoint is in {job.folder}",
        )
    tally.tokens += sum(lengths)
    tally.examples += len(members)
    return loss


def _epoch(
    job: Job, questions: Sequence[Question], epoch: int
) -> tuple[list[Example], list[list[int]]]:
    """Lay out one epoch: encoded examples, and the indices of each step's members."""
    rng = random.Random(f"{job.seed}/{epoch}")
    shown = [_permuted(q, rng) if job.settings.permute_options else q for q in questions]
    examples = [job.encode(question) for question in shown]
    lengths = [len(example.tokens) for example in examples]
    return examples, epoch_order(lengths, job.settings.batch_size, rng)


def _permuted(question: Question, rng: random.Random) -> Question:
    order = list(range(len(question.options)))
    rng.shuffle(order)
    return question.permuted(tuple(order))


def _that_fit(job: Job, progress: Progress) -> list[Question]:
    limit = job.settings.max_tokens
    fits = [q for q in job.questions if len(job.encode(q).tokens) <= limit]
    if dropped := len(job.questions) - len(fits):
        progress.say(f"{dropped} of {len(job.questions)} examples exceed {limit} tokens: left out")
    if not fits:
        raise EmptySplitError(
            f"all {len(job.questions)} training examples exceed {limit} tokens",
            fix="raise training.max_tokens",
        )
    return fits


def _resume(job: Job, optimizer: MasterAdamW, tally: Tally, progress: Progress) -> int | None:
    """Go back to the newest checkpoint; return its step."""
    state = checkpoint.newest(job.folder, job.inputs)
    if state is None:
        return None
    optimizer.restore(state["optimizer"])
    for name, value in state["tally"].items():
        setattr(tally, name, value)
    torch.set_rng_state(state["rng"])
    progress.say(f"going on from step {tally.step} ({job.folder})")
    return tally.step


def _save(job: Job, accelerator: Accelerator, optimizer: MasterAdamW, tally: Tally) -> None:
    if not accelerator.is_main_process:
        return
    state: dict[str, Any] = {
        "optimizer": optimizer.state(),
        "tally": {name: getattr(tally, name) for name in tally.__slots__},
        "rng": torch.get_rng_state(),
    }
    checkpoint.save(job.folder, tally.step, job.inputs, state)


@contextmanager
def _stop_request() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request that is honoured between steps.

    In the middle of an optimizer step the weights are neither the old nor the new ones.  A
    second Ctrl-C interrupts at once.
    """
    asked = False

    def note(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        former = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread: nobody can press Ctrl-C here
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, former)
