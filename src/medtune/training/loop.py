"""Run the training loop of a fine-tune."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from medtune.core.errors import Interrupted
from medtune.core.progress import Progress
from medtune.core.records import LossPoint, Proportion
from medtune.training import checkpoint
from medtune.training.collate import audit_mask
from medtune.training.epochs import filter_by_length, plan_epoch
from medtune.training.gradient_step import Step
from medtune.training.job import Job, TrainingProgress, TrainingResult
from medtune.training.lr_schedule import compute_lr_factor
from medtune.training.master_adamw import MasterAdamW
from medtune.training.processes import is_cpu_only
from medtune.training.sharding import gather_parameters, gather_tensors, prepare_distributed
from medtune.training.trackers import LogMetrics, build_accelerator, open_trackers
from medtune.training.weight_averaging import WeightAverager


def train(job: Job, progress: Progress) -> TrainingResult:
    """Train a job; resume from its newest checkpoint if there is one.

    Every epoch is a pure function of the seed and its number, so a resumed run takes the same steps
    as an uninterrupted one.

    Raises:
        CheckFailed: The mask audit fails, or the loss is no longer a number.
        ModelError: Out of memory, even with passes of half the size.
        EmptySplitError: No example fits under `max_tokens`.
        Interrupted: Ctrl-C; a checkpoint was written.
        FolderError: A checkpoint cannot be written.
    """
    settings = job.settings
    accelerator = build_accelerator(job.track, job.folder.parent / "tracking", is_cpu_only())
    head = prepare_distributed(job.head, accelerator)
    head.train()

    questions = filter_by_length(job.questions, job.encode, settings, progress)
    examples = [job.encode(question) for question in questions]
    report = audit_mask(examples, job.pad, job.end, job.decode, settings.objective)
    progress.log_message(
        f"mask audit: {report.supervised:,} of {report.tokens:,} tokens supervised, "
        f"{report.prompt_supervised} of them prompt, "
        f"{report.ends_supervised}/{report.examples} endings; sample:\n{report.sample}"
    )

    optimizer = MasterAdamW(job.parameters(), settings.learning_rate, settings.weight_decay)
    per_epoch = -(-len(questions) // settings.batch_size)
    total = settings.steps or per_epoch * settings.epochs
    keeper = WeightAverager(optimizer, settings)
    step = Step(job, accelerator, head, progress)
    tally = TrainingProgress()
    torch.manual_seed(job.seed)
    resumed = _resume_from_checkpoint(job, optimizer, keeper, tally, progress)
    before = TrainingProgress(
        tally.step, tally.tokens, tally.positions, tally.examples, [], tally.seconds
    )

    start = time.perf_counter()
    with (
        progress.task("train", total, tally.step) as bar,
        _stop_request() as stop,
        open_trackers(accelerator, job.name, settings.model_dump(mode="json")) as log,
    ):
        for epoch in range(tally.step // per_epoch, -(-total // per_epoch)):
            if keeper.is_out_of_patience:
                break
            examples, steps = plan_epoch(questions, job.encode, settings, job.seed, epoch)
            begun = epoch * per_epoch
            for members in steps[tally.step - begun : total - begun]:
                factor = compute_lr_factor(
                    tally.step, total, settings.warmup_steps, settings.schedule
                )
                loss = step.accumulate([examples[i] for i in members], tally)
                optimizer.step(factor, settings.clip_norm)
                keeper.update_average()
                tally.step += 1
                tally.losses.append((loss, settings.learning_rate * factor))
                elapsed = time.perf_counter() - start
                tally.seconds = before.seconds + elapsed
                rate = (tally.tokens - before.tokens) / elapsed
                bar.advance(1, loss=f"{loss:.3f}", speed=f"{rate:,.0f} tokens/s")
                told = {"loss": loss, "learning_rate": tally.losses[-1][1], "tokens_per_s": rate}
                log(told, tally.step)
                if job.validate and tally.step % (settings.validate_every or per_epoch) == 0:
                    _validate(job.validate, head, optimizer, keeper, tally.step, progress, log)
                stopping = _any_process(accelerator, stop())
                if stopping or (tally.step % settings.save_every == 0 and tally.step < total):
                    _save_checkpoint(job, accelerator, optimizer, keeper, tally)
                if stopping:
                    raise Interrupted(
                        f"stopped after step {tally.step} of {total}; a checkpoint was written",
                        fix="run the same command again to go on from there",
                    )
                if keeper.is_out_of_patience:
                    progress.log_message(
                        f"stopped early: {settings.patience} validations without a gain"
                    )
                    break
    accelerator.wait_for_everyone()
    return TrainingResult(
        weights=gather_tensors(keeper.kept_weights),
        kept_step=keeper.kept_step,
        validations=tuple(keeper.points),
        audit=report,
        losses=tuple(
            LossPoint(step=number, loss=loss, learning_rate=rate)
            for number, (loss, rate) in enumerate(tally.losses, 1)
        ),
        steps=tally.step,
        examples=tally.examples,
        tokens=tally.tokens,
        positions=tally.positions,
        resumed_from=resumed,
        duration_s=before.seconds + time.perf_counter() - start,
        fresh_s=time.perf_counter() - start,
        fresh_examples=tally.examples - before.examples,
        fresh_tokens=tally.tokens - before.tokens,
    )


def _validate(
    validate: Callable[[], Proportion],
    head: nn.Module,
    optimizer: MasterAdamW,
    keeper: WeightAverager,
    step: int,
    progress: Progress,
    log: LogMetrics,
) -> None:
    """Validate the weights that would be kept now."""
    head.eval()
    with optimizer.swap_weights(keeper.current_weights), gather_parameters(head):
        accuracy = validate()
    head.train()
    keeper.record_validation(step, accuracy)
    log({"validation_accuracy": accuracy.value}, step)
    progress.log_message(
        f"step {step}: {100 * accuracy.value:.1f} % of {accuracy.n} validation questions "
        f"({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})"
    )


def _resume_from_checkpoint(
    job: Job,
    optimizer: MasterAdamW,
    keeper: WeightAverager,
    tally: TrainingProgress,
    progress: Progress,
) -> int | None:
    """Restore the newest checkpoint; return its step."""
    state = checkpoint.load_newest_checkpoint(job.folder, job.inputs)
    if state is None:
        return None
    optimizer.load_state_dict(state["optimizer"])
    keeper.load_state_dict(state["keeper"])
    for name, value in state["tally"].items():
        setattr(tally, name, value)
    torch.set_rng_state(state["rng"])
    progress.log_message(f"going on from step {tally.step} ({job.folder})")
    return tally.step


def _save_checkpoint(
    job: Job,
    accelerator: Accelerator,
    optimizer: MasterAdamW,
    keeper: WeightAverager,
    tally: TrainingProgress,
) -> None:
    state: dict[str, Any] = {
        "optimizer": optimizer.state_dict(),
        "keeper": keeper.state_dict(),
        "tally": {name: getattr(tally, name) for name in tally.__slots__},
        "rng": torch.get_rng_state(),
    }
    if accelerator.is_main_process:
        checkpoint.save_checkpoint(job.folder, tally.step, job.inputs, state)


def _any_process(accelerator: Accelerator, asked: bool) -> bool:
    """Return whether any process was asked to stop: all must stop at the same step."""
    if accelerator.num_processes == 1:
        return asked
    found = accelerator.reduce(torch.tensor(float(asked), device=accelerator.device), "sum")
    return bool(found > 0)


@contextmanager
def _stop_request() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop between steps.

    Within an optimizer step the weights are inconsistent.  A second Ctrl-C interrupts at once.
    """
    asked = False

    def note(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        former = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread, which alone receives Ctrl-C
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, former)
