"""One fine-tune, from a trainable model and a split to a folder of weights and its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from medtune.core.config import config_hash
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import fingerprint, form_taught
from medtune.core.protocols import Example, Message
from medtune.core.provenance import installed_version, peak_memory, provenance
from medtune.core.records import (
    ModelDescription,
    Proportion,
    Question,
    SplitDescription,
    TrainingRecord,
    content_hash,
)
from medtune.core.run_folder import valid_record, write_record
from medtune.training.epochs import weigher
from medtune.training.job import Job, TrainingResult
from medtune.training.loop import train
from medtune.training.processes import processes

RECORD = "training.json"


class SavedWeights(Protocol):
    """What saving weights returns, as far as it matters here."""

    @property
    def weights_hash(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Validation:
    """An examination on questions set apart, made while training goes on."""

    data: SplitDescription
    examine: Callable[[], Proportion]
    """Examines the model as it is."""


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

    def toward_base(  # noqa: D102
        self, weights: Mapping[str, Tensor], share: float
    ) -> Mapping[str, Tensor]: ...


def training_inputs(
    experiment: Experiment,
    base: ModelDescription,
    prompt_hash: str,
    data: SplitDescription,
    validation: SplitDescription | None = None,
) -> str:
    """Hash everything that determines the trained weights."""
    return content_hash(
        [
            experiment.training.model_dump(mode="json"),
            experiment.seed,
            base.model_dump(mode="json"),
            prompt_hash,
            data.hash,
            validation.hash if validation else None,
        ]
    )


def trained_already(folder: Path, artefact: str, inputs: str) -> TrainingRecord | None:
    """Return a run folder's training record if it is valid and its weights are there."""
    record = valid_record(folder / RECORD, TrainingRecord, inputs)
    return record if record is not None and (folder / artefact).is_dir() else None


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
    """Train, and write `adapter/` or `model/`, and `training.json`, of a run folder.

    Args:
        trainable: The model, ready to be trained.
        experiment: Settings.
        questions: The train split.
        data: Its description.
        folder: The run folder; checkpoints in it are resumed.
        progress: Where to report.
        watch: An examination to make on the way.
        hashes: Of the questions, to lie beside the weights; None writes none.

    Raises:
        MedtuneError: As `training.loop.train` does.
    """
    if unlabelled := sum(question.answer is None for question in questions):
        raise DataError(f"{data.source}: {unlabelled} training questions have no label")
    style, settings = experiment.prompt, experiment.training
    form, weight = form_taught(settings.target), weigher(questions, settings)
    prompt_hash = fingerprint(style, trainable.render)
    validation = watch.data if watch else None
    inputs = training_inputs(experiment, trainable.base, prompt_hash, data, validation)

    def encode(question: Question) -> Example:
        letters = settings.objective == "letter"
        choices = [style.answer(question, i, form) for i in range(len(question.options))]
        answer = style.taught(question, settings.target)
        prompt = style.messages(question, form)
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
    here = processes()
    if here.is_main_process:
        _write(folder, trainable, experiment, data, job, done, prompt_hash, hashes)
    here.wait_for_everyone()
    record = valid_record(folder / RECORD, TrainingRecord, inputs)
    assert record is not None, "the main process wrote it"
    return record


def _write(
    folder: Path,
    trainable: Trainable,
    experiment: Experiment,
    data: SplitDescription,
    job: Job,
    done: TrainingResult,
    prompt_hash: str,
    hashes: Sequence[str] | None,
) -> None:
    """Write the weights, then the record that makes them valid."""
    settings = experiment.training
    kept: Mapping[str, Tensor] = done.weights
    if settings.interpolate < 1:
        kept = trainable.toward_base(kept, settings.interpolate)
    card = trainable.save(
        kept,
        folder / settings.artefact,
        {
            "base": trainable.base.source,
            "base_fingerprint": trainable.base.fingerprint,
            "prompt_hash": prompt_hash,
            "style": experiment.prompt,
            "target": form_taught(settings.target),
            "data_hash": data.hash,
            "data_source": data.source,
            "data_n": data.n,
            "config_hash": config_hash(experiment),
            "medtune": installed_version("medtune") or "0+unknown",
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
        processes=processes().num_processes,
        losses=done.losses,
        validations=done.validations,
        kept_step=done.kept_step,
        resumed_from=done.resumed_from,
        duration_s=done.duration_s,
        examples_per_s=done.fresh_examples / done.fresh_s,
        tokens_per_s=done.fresh_tokens / done.fresh_s,
        peak_memory_bytes=torch.cuda.max_memory_allocated() if gpu else peak_memory(),
        weights_hash=card.weights_hash,
        provenance=provenance(gpu),
    )
    write_record(folder / RECORD, record)
