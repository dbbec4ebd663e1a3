"""Fine-tune a trainable model on a split; write the weights and the training record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from medtune._version import __version__
from medtune.core.config import config_hash
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import form_for_target, prompt_fingerprint
from medtune.core.provenance import collect_provenance, peak_memory
from medtune.core.records import (
    LossPoint,
    Question,
    SplitDescription,
    TrainingRecord,
)
from medtune.core.run_folder import write_record
from medtune.training.examples import ExampleEncoder
from medtune.training.finished import (
    TRAINING_RECORD_FILE,
    find_finished_training,
    hash_training_inputs,
)
from medtune.training.loop import Trainer
from medtune.training.passages import TrainingPassages
from medtune.training.processes import join_processes
from medtune.training.trainable import (
    Trainable,
    TrainingProgress,
    TrainingResult,
    Validation,
)


def fine_tune(
    trainable: Trainable,
    experiment: Experiment,
    questions: Sequence[Question],
    data: SplitDescription,
    folder: Path,
    progress: Progress,
    watch: Validation | None = None,
    hashes: Sequence[str] | None = None,
    passages: TrainingPassages | None = None,
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
        passages: Passages of the questions, if the experiment's prompts show any.

    Raises:
        MedtuneError: As `Trainer` does.
    """
    if unlabelled := sum(question.answer is None for question in questions):
        raise DataError(f"{data.source}: {unlabelled} training questions have no label")
    shown = experiment.retrieval.prompt_settings
    assert shown == (passages and passages.settings.prompt_settings), "passages of other prompts"
    settings = experiment.training
    prompt_hash = prompt_fingerprint(experiment.prompt, trainable.render, shown)
    validation = watch.data if watch else None
    found = passages.inputs if passages is not None else None
    inputs = hash_training_inputs(experiment, trainable.base, prompt_hash, data, validation, found)
    encode = ExampleEncoder(trainable, experiment, questions, passages)
    encode.fit_passages(questions, progress)
    validate = watch.examine if watch else None
    trainer = Trainer(trainable, experiment, questions, encode, folder, inputs, progress, validate)
    done = trainer.train()
    here = join_processes()
    if here.is_main_process:
        saved = _save_weights(
            folder, trainable, experiment, data, done.weights, prompt_hash, hashes, passages
        )
        _write_training_record(
            folder, trainable, experiment, data, inputs, done, prompt_hash, saved
        )
    here.wait_for_everyone()
    record = find_finished_training(folder, settings.artefact_folder, inputs)
    assert record is not None, "the main process wrote it"
    return record


def _save_weights(
    folder: Path,
    trainable: Trainable,
    experiment: Experiment,
    data: SplitDescription,
    weights: Mapping[str, Tensor],
    prompt_hash: str,
    hashes: Sequence[str] | None,
    passages: TrainingPassages | None,
) -> str:
    """Save the weights with their card; return their hash."""
    settings = experiment.training
    if settings.interpolate < 1:
        weights = trainable.interpolate_with_base(weights, settings.interpolate)
    card = {
        "base": trainable.base.source,
        "base_fingerprint": trainable.base.fingerprint,
        "prompt_hash": prompt_hash,
        "style": experiment.prompt,
        "target": form_for_target(settings.target),
        # A folder of this machine says nothing elsewhere: the index is known by its hash.
        "retrieval": passages and passages.settings.model_copy(update={"index": ""}),
        "index_hash": passages and passages.index_hash,
        "data_hash": data.hash,
        "data_source": data.source,
        "data_n": data.n,
        "config_hash": config_hash(experiment),
        "medtune": __version__,
    }
    return trainable.save(weights, folder / settings.artefact_folder, card, hashes).weights_hash


def _write_training_record(
    folder: Path,
    trainable: Trainable,
    experiment: Experiment,
    data: SplitDescription,
    inputs: str,
    done: TrainingResult,
    prompt_hash: str,
    weights_hash: str,
) -> None:
    """Write the record that marks the weights as valid."""
    settings = experiment.training
    total, before = done.progress, done.resumed or TrainingProgress()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    record = TrainingRecord(
        inputs=inputs,
        base=trainable.base,
        data=data,
        prompt_hash=prompt_hash,
        seed=experiment.seed,
        method=settings.method,
        target=settings.target,
        objective=settings.objective,
        audit=done.audit,
        steps=total.step,
        epochs=-(-total.examples // done.audit.examples),
        examples=total.examples,
        tokens=total.tokens,
        padding_efficiency=total.tokens / total.positions,
        trainable_parameters=sum(p.numel() for p in trainable.parameters.values()),
        total_parameters=trainable.total_parameters,
        processes=join_processes().num_processes,
        losses=tuple(
            LossPoint(step=number, loss=loss, learning_rate=rate)
            for number, (loss, rate) in enumerate(total.losses, 1)
        ),
        validations=done.validations,
        kept_step=done.kept_step,
        resumed_from=done.resumed.step if done.resumed else None,
        duration_s=total.seconds,
        examples_per_s=(total.examples - before.examples) / done.fresh_s,
        tokens_per_s=(total.tokens - before.tokens) / done.fresh_s,
        peak_memory_bytes=torch.cuda.max_memory_allocated() if gpu else peak_memory(),
        weights_hash=weights_hash,
        provenance=collect_provenance(gpu),
    )
    write_record(folder / TRAINING_RECORD_FILE, record)
