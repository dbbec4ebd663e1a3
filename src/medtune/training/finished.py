"""Find a finished training by its inputs; torch-free."""

from __future__ import annotations

from pathlib import Path

from medtune.core.experiment import Experiment
from medtune.core.records import (
    ModelDescription,
    SplitDescription,
    TrainingRecord,
    content_hash,
)
from medtune.core.run_folder import read_valid_record

TRAINING_RECORD_FILE = "training.json"


def hash_training_inputs(
    experiment: Experiment,
    base: ModelDescription,
    prompt_hash: str,
    data: SplitDescription,
    validation: SplitDescription | None = None,
    passages: str | None = None,
) -> str:
    """Return a hash of everything that determines the trained weights.

    Args:
        experiment: The settings.
        base: Description of the base model.
        prompt_hash: Fingerprint of the prompt.
        data: The train split.
        validation: The validation split; None without one.
        passages: Hash of what determines the passages (`hash_training_passages`); None for a
            closed book.
    """
    training = experiment.training
    return content_hash(
        [
            training.dump_effective(),
            experiment.seed,
            base.model_dump(mode="json"),
            prompt_hash,
            data.hash,
            validation.hash if validation else None,
            *([passages] if passages is not None else []),
            *([experiment.evaluation.normalization] if training.objective == "choice" else []),
        ]
    )


def find_finished_training(folder: Path, artefact: str, inputs: str) -> TrainingRecord | None:
    """Return the training record of a run folder if it is valid and its weights exist."""
    record = read_valid_record(folder / TRAINING_RECORD_FILE, TrainingRecord, inputs)
    return record if record is not None and (folder / artefact).is_dir() else None
