"""Fine-tune a trainable model on a split; write the weights and the training record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from medtune._version import __version__
from medtune.core.config import config_hash
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import form_for_target, prompt_fingerprint
from medtune.core.protocols import Example, Message
from medtune.core.provenance import collect_provenance, peak_memory
from medtune.core.records import (
    ModelDescription,
    Proportion,
    Question,
    SplitDescription,
    TrainingRecord,
)
from medtune.core.run_folder import write_record
from medtune.training.epochs import build_weight_function
from medtune.training.finished import (
    TRAINING_RECORD_FILE,
    find_finished_training,
    hash_training_inputs,
)
from medtune.training.job import Job, TrainingResult
from medtune.training.loop import train
from medtune.training.processes import join_processes


class SavedWeights(Protocol):
    """Result of saving weights."""

    @property
    def weights_hash(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Validation:
    """An evaluation on held-out questions during training."""

    data: SplitDescription
    examine: Callable[[], Proportion]
    """Evaluates the current model."""


class Trainable(Protocol):
    """A base model with trainable weights in it."""

    base: ModelDescription
    head: nn.Module
    packs: bool
    pad: int
    end: int

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...  # noqa: D102

    @property
    def total_parameters(self) -> int: ...  # noqa: D102

    def render(self, messages: Sequence[Message]) -> str: ...  # noqa: D102

    def encode(  # noqa: D102
        self, messages: Sequence[Message], answer: str, choices: Sequence[str] = ()
    ) -> Example: ...

    def decode(self, tokens: Sequence[int]) -> str: ...  # noqa: D102

    def save(  # noqa: D102
        self,
        weights: Mapping[str, Tensor],
        folder: Path,
        card: Mapping[str, object],
        hashes: Sequence[str] | None = None,
    ) -> SavedWeights: ...

    def interpolate_with_base(  # noqa: D102
        self, weights: Mapping[str, Tensor], share: float
    ) -> Mapping[str, Tensor]: ...


def fine_tune(
    trainable: Trainable,
    experiment: Experiment,
    questions: Sequence[Question],
    data: SplitDescription,
    folder: Path,
    progress: Progress,
    watch: Validation | None = None,
    hashes: Sequence[str] | None = None,
) -> TrainingRecord:
    """Train a model; write `adapter/` or `model/`, and `training.json`, to a run folder.

    Args:
        trainable: The prepared model.
        experiment: The settings.
        questions: The train split.
        data: Its description.
        folder: The run folder; checkpoints in it are resumed.
        progress: Progress reports.
        watch: Validation during training.
        hashes: Question hashes to save beside the weights; None saves none.

    Raises:
        MedtuneError: As `training.loop.train` does.
    """
    if unlabelled := sum(question.answer is None for question in questions):
        raise DataError(f"{data.source}: {unlabelled} training questions have no label")
    style, settings = experiment.prompt, experiment.training
    form, weight = form_for_target(settings.target), build_weight_function(questions, settings)
    prompt_hash = prompt_fingerprint(style, trainable.render)
    validation = watch.data if watch else None
    inputs = hash_training_inputs(experiment, trainable.base, prompt_hash, data, validation)

    def encode(question: Question) -> Example:
        letters = settings.objective == "letter"
        choices = [style.render_answer(question, i, form) for i in range(len(question.options))]
        answer = style.render_target(question, settings.target)
        prompt = style.build_messages(question, form)
        example = trainable.encode(prompt, answer, choices if letters else ())
        return replace(example, weight=weight(question), ends=settings.ending)

    job = Job(
        head=trainable.head,
        packs=trainable.packs,
        parameters=lambda: trainable.parameters,
        questions=questions,
        encode=encode,
        decode=trainable.decode,
        pad=trainable.pad,
        end=trainable.end,
        settings=settings,
        validate=watch.examine if watch else None,
        seed=experiment.seed,
        folder=folder / "checkpoints",
        inputs=inputs,
        name=experiment.name,
        track=experiment.track,
    )
    done = train(job, progress)
    here = join_processes()
    if here.is_main_process:
        _save_results(folder, trainable, experiment, data, job, done, prompt_hash, hashes)
    here.wait_for_everyone()
    record = find_finished_training(folder, settings.artefact_folder, inputs)
    assert record is not None, "the main process wrote it"
    return record


def _save_results(
    folder: Path,
    trainable: Trainable,
    experiment: Experiment,
    data: SplitDescription,
    job: Job,
    done: TrainingResult,
    prompt_hash: str,
    hashes: Sequence[str] | None,
) -> None:
    """Save the weights, then the record that marks them as valid."""
    settings = experiment.training
    kept: Mapping[str, Tensor] = done.weights
    if settings.interpolate < 1:
        kept = trainable.interpolate_with_base(kept, settings.interpolate)
    card = trainable.save(
        kept,
        folder / settings.artefact_folder,
        {
            "base": trainable.base.source,
            "base_fingerprint": trainable.base.fingerprint,
            "prompt_hash": prompt_hash,
            "style": experiment.prompt,
            "target": form_for_target(settings.target),
            "data_hash": data.hash,
            "data_source": data.source,
            "data_n": data.n,
            "config_hash": config_hash(experiment),
            "medtune": __version__,
        },
        hashes,
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    record = TrainingRecord(
        inputs=job.inputs,
        base=trainable.base,
        data=data,
        prompt_hash=prompt_hash,
        seed=experiment.seed,
        method=settings.method,
        target=settings.target,
        objective=settings.objective,
        audit=done.audit,
        steps=done.steps,
        epochs=-(-done.examples // done.audit.examples),
        examples=done.examples,
        tokens=done.tokens,
        padding_efficiency=done.tokens / done.positions,
        trainable_parameters=sum(p.numel() for p in trainable.parameters.values()),
        total_parameters=trainable.total_parameters,
        processes=join_processes().num_processes,
        losses=done.losses,
        validations=done.validations,
        kept_step=done.kept_step,
        resumed_from=done.resumed_from,
        duration_s=done.duration_s,
        examples_per_s=done.fresh_examples / done.fresh_s,
        tokens_per_s=done.fresh_tokens / done.fresh_s,
        peak_memory_bytes=torch.cuda.max_memory_allocated() if gpu else peak_memory(),
        weights_hash=card.weights_hash,
        provenance=collect_provenance(gpu),
    )
    write_record(folder / TRAINING_RECORD_FILE, record)
