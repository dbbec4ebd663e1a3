"""Run the training loop of a fine-tune."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator

from medtune.core.errors import Interrupted
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.protocols import Example
from medtune.core.records import MaskAudit, Proportion, Question
from medtune.training import checkpoint
from medtune.training.collate import audit_mask
from medtune.training.epochs import EncodeQuestion, filter_by_length, plan_epoch
from medtune.training.gradient_step import GradientStep
from medtune.training.master_adamw import MasterAdamW
from medtune.training.processes import is_cpu_only
from medtune.training.sharding import gather_parameters, gather_tensors, prepare_distributed
from medtune.training.trackers import LogMetrics, build_accelerator, open_trackers
from medtune.training.trainable import Trainable, TrainingProgress, TrainingResult
from medtune.training.weight_averaging import WeightAverager


class Trainer:
    """Train a model on questions; resume from the newest checkpoint if there is one.

    Every epoch is a pure function of the seed and its number, so a resumed run takes the same steps
    as an uninterrupted one.

    Args:
        trainable: The model with its trainable weights.
        experiment: The settings.
        questions: The train split.
        encode: Encodes a question as an example.
        folder: The run folder; its checkpoints are written and resumed.
        inputs: Hash of what determines the weights; a checkpoint of other inputs is not resumed.
        progress: Progress reports.
        validate: Evaluates the current model on held-out questions.

    Raises:
        CheckFailed: The mask audit fails.
        EmptySplitError: No example fits under `max_tokens`.
    """

    def __init__(
        self,
        trainable: Trainable,
        experiment: Experiment,
        questions: Sequence[Question],
        encode: EncodeQuestion,
        folder: Path,
        inputs: str,
        progress: Progress,
        validate: Callable[[], Proportion] | None = None,
    ) -> None:
        settings = experiment.training
        self._experiment, self._settings = experiment, settings
        self._encode, self._validate = encode, validate
        self._checkpoints, self._inputs, self._progress = folder / "checkpoints", inputs, progress
        tracking = folder / "tracking"
        self._accelerator = build_accelerator(experiment.track, tracking, is_cpu_only())
        self._head = prepare_distributed(trainable.head, self._accelerator)
        self._head.train()
        self._questions = filter_by_length(questions, encode, settings, progress)
        self._audit = self._audit_mask(trainable)
        self._optimizer = MasterAdamW(
            trainable.parameters, settings.learning_rate, settings.weight_decay
        )
        self._averager = WeightAverager(self._optimizer, settings)
        self._gradient = GradientStep(
            trainable, settings, self._accelerator, self._head, self._checkpoints, progress
        )
        self._per_epoch = -(-len(self._questions) // settings.batch_size)
        self._total = settings.steps or self._per_epoch * settings.epochs
        self._tally = TrainingProgress()

    def train(self) -> TrainingResult:
        """Take all steps.

        Raises:
            CheckFailed: The loss is no longer a number.
            ModelError: Out of memory, even with passes of half the size.
            Interrupted: Ctrl-C; a checkpoint was written.
            FolderError: A checkpoint cannot be written.
        """
        settings, tally = self._settings, self._tally
        torch.manual_seed(self._experiment.seed)
        resumed = self._resume_from_checkpoint()
        before = resumed or TrainingProgress()
        start = time.perf_counter()
        with (
            self._progress.task("train", self._total, tally.step) as bar,
            _stop_request() as stop,
            open_trackers(
                self._accelerator, self._experiment.name, settings.model_dump(mode="json")
            ) as log,
        ):
            for members in self._plan_steps():
                if self._averager.is_out_of_patience:
                    self._progress.log_message(
                        f"stopped early: {settings.patience} validations without a gain"
                    )
                    break
                loss, rate = self._take_step(members)
                elapsed = time.perf_counter() - start
                tally.seconds = before.seconds + elapsed
                speed = (tally.tokens - before.tokens) / elapsed
                bar.advance(1, loss=f"{loss:.3f}", speed=f"{speed:,.0f} tokens/s")
                log({"loss": loss, "learning_rate": rate, "tokens_per_s": speed}, tally.step)
                if tally.step % (settings.validate_every or self._per_epoch) == 0:
                    self._validate_weights(log)
                stopping = _any_process(self._accelerator, stop())
                is_due = tally.step % settings.save_every == 0 and tally.step < self._total
                if stopping or is_due:
                    self._save_checkpoint()
                if stopping:
                    raise Interrupted(
                        f"stopped after step {tally.step} of {self._total}; a checkpoint was "
                        "written",
                        fix="run the same command again to go on from there",
                    )
        self._accelerator.wait_for_everyone()
        fresh_s = time.perf_counter() - start
        tally.seconds = before.seconds + fresh_s
        return TrainingResult(
            weights=gather_tensors(self._averager.kept_weights),
            kept_step=self._averager.kept_step,
            validations=tuple(self._averager.points),
            audit=self._audit,
            progress=tally,
            resumed=resumed,
            fresh_s=fresh_s,
        )

    def _audit_mask(self, trainable: Trainable) -> MaskAudit:
        """Audit which tokens are supervised, and report it with a sample."""
        report = audit_mask(
            map(self._encode, self._questions),
            trainable.pad,
            trainable.end,
            trainable.decode,
            self._settings.objective,
        )
        self._progress.log_message(
            f"mask audit: {report.supervised:,} of {report.tokens:,} tokens supervised, "
            f"{report.prompt_supervised} of them prompt, "
            f"{report.ends_supervised}/{report.examples} endings; sample:\n{report.sample}"
        )
        return report

    def _plan_steps(self) -> Iterator[list[Example]]:
        """Yield the examples of each step that is left."""
        seed, per_epoch = self._experiment.seed, self._per_epoch
        done = self._tally.step
        for epoch in range(done // per_epoch, -(-self._total // per_epoch)):
            steps = plan_epoch(self._questions, self._encode, self._settings, seed, epoch)
            begun = epoch * per_epoch
            for members in steps[max(0, done - begun) : self._total - begun]:
                yield [self._encode(question.permute_options(order)) for question, order in members]

    def _take_step(self, members: list[Example]) -> tuple[float, float]:
        """Take an optimizer step; return its mean loss, nats per token, and its learning rate."""
        settings, tally = self._settings, self._tally
        factor = _lr_factor(tally.step, self._total, settings.warmup_steps, settings.schedule)
        loss = self._gradient.accumulate(members, tally)
        self._optimizer.step(factor, settings.clip_norm)
        self._averager.update_average()
        tally.step += 1
        tally.losses.append((loss, settings.learning_rate * factor))
        return tally.losses[-1]

    def _validate_weights(self, log: LogMetrics) -> None:
        """Validate the weights that would be kept now, if there are held-out questions."""
        if self._validate is None:
            return
        step = self._tally.step
        self._head.eval()
        weights = self._averager.current_weights
        with self._optimizer.swap_weights(weights), gather_parameters(self._head):
            accuracy = self._validate()
        self._head.train()
        self._averager.record_validation(step, accuracy)
        log({"validation_accuracy": accuracy.value}, step)
        self._progress.log_message(
            f"step {step}: {100 * accuracy.value:.1f} % of {accuracy.n} validation questions "
            f"({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})"
        )

    def _resume_from_checkpoint(self) -> TrainingProgress | None:
        """Restore the newest checkpoint; return the progress at that time."""
        state = checkpoint.load_newest_checkpoint(self._checkpoints, self._inputs)
        if state is None:
            if checkpoint.has_checkpoints(self._checkpoints):
                self._progress.log_message(
                    f"{self._checkpoints}: checkpoints of another model, data or settings, such as "
                    "another objective; training begins anew"
                )
            return None
        self._optimizer.load_state_dict(state["optimizer"])
        self._averager.load_state_dict(state["keeper"])
        for name, value in state["tally"].items():
            setattr(self._tally, name, value)
        torch.set_rng_state(state["rng"])
        self._progress.log_message(f"going on from step {self._tally.step} ({self._checkpoints})")
        return replace(self._tally)

    def _save_checkpoint(self) -> None:
        state = {
            "optimizer": self._optimizer.state_dict(),
            "keeper": self._averager.state_dict(),
            "tally": asdict(self._tally),
            "rng": torch.get_rng_state(),
        }
        if self._accelerator.is_main_process:
            checkpoint.save_checkpoint(self._checkpoints, self._tally.step, self._inputs, state)


def _lr_factor(
    step: int, total: int, warmup: int, shape: Literal["linear", "cosine", "constant"]
) -> float:
    """Return the factor of the learning rate at one step.

    Args:
        step: Step number from 0.
        total: Steps of the whole run.
        warmup: Steps of linear warmup; the first has 1 / warmup of the full rate.
        shape: Decay after the warmup: to 0 linearly, to 0 along half a cosine, or none.

    Returns:
        A factor between 0 and 1.
    """
    if step < warmup:
        return (step + 1) / warmup
    if shape == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 1.0 - progress if shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


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
