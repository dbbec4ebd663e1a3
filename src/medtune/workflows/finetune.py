"""Fine-tune a base model on a snapshot, and load the trained weights of a run folder."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import ModelError
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import prompt_fingerprint
from medtune.core.records import TrainingRecord
from medtune.data.snapshot import Snapshot, SnapshotSplit
from medtune.data.trained_on import question_hashes
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.adapters import lora
from medtune.models.adapters.full import FullFineTuned
from medtune.models.adapters.trainable import Trainee
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model
from medtune.models.weights_card import read_optional_card
from medtune.training.finetune import (
    Validation,
    find_finished_training,
    fine_tune,
    hash_training_inputs,
)
from medtune.training.trackers import check_trackers
from medtune.workflows.distributed import run_distributed


def resolve_trainable(experiment: Experiment, progress: Progress) -> ModelSource:
    """Resolve the base model and check that training is possible, before any work begins.

    Raises:
        ConfigError: A tracker is not installed.
        ModelError: The model cannot be found or cannot be trained.
    """
    check_trackers(experiment.track)
    source = resolve_model(experiment.model.source, progress)
    if source.kind == "fake":
        raise ModelError(f"{source.name} cannot be trained", expected="a real base model")
    if source.folder and (card := read_optional_card(source.folder)) and card.is_quantized:
        raise ModelError(
            f"{source.name} is quantized as {card.scheme} and cannot be trained",
            expected=f"the model that it was made from: {card.base}",
        )
    return source


def load_base_model(experiment: Experiment, source: ModelSource) -> LocalModel:
    """Load the base model with the dtype and attention of the experiment."""
    return LocalModel.load(source, experiment.model.dtype, experiment.model.attention)


def finetune_cached(
    experiment: Experiment,
    source: ModelSource,
    snapshot: Snapshot,
    folder: Path,
    progress: Progress,
) -> TrainingRecord:
    """Fine-tune, or return the record of the folder if its inputs are the same.

    Raises:
        MedtuneError: As `fine_tune` does.
    """
    base = load_base_model(experiment, source)
    split, held = snapshot.train.description, snapshot.validation
    prompt_hash = prompt_fingerprint(experiment.prompt, base.render)
    inputs = hash_training_inputs(
        experiment, base.describe(), prompt_hash, split, held.description if held else None
    )
    if record := find_finished_training(folder, experiment.training.artefact_folder, inputs):
        progress.log_message(f"{folder / experiment.training.artefact_folder}: still valid")
        return record
    trainee = _build_trainee(experiment, base)
    watch = _plan_validation(experiment, trainee, held) if held else None
    questions = snapshot.train.questions
    hashes = question_hashes(questions)
    return fine_tune(trainee, experiment, questions, split, folder, progress, watch, hashes)


def load_tuned_model(experiment: Experiment, source: ModelSource, folder: Path) -> LocalModel:
    """Load the trained weights into a freshly loaded base model."""
    settings = experiment.training
    place = folder / settings.artefact_folder
    if settings.method == "full":
        return load_base_model(experiment, resolve_model(f"path:{place}"))
    base = load_base_model(experiment, source)
    return lora.load_adapter(base, place, prompt_fingerprint(experiment.prompt, base.render))


def _build_trainee(experiment: Experiment, base: LocalModel) -> Trainee:
    settings = experiment.training
    if settings.method == "full":
        return FullFineTuned(base, settings.recompute)
    return lora.LoraModel(base, settings.lora, experiment.seed, settings.recompute)


def _plan_validation(experiment: Experiment, trainee: Trainee, held: SnapshotSplit) -> Validation:
    """Build the validation that runs during training."""
    exam = Exam.for_validation(experiment, held.questions, held.description)
    return Validation(
        held.description,
        lambda: run_distributed(
            trainee.inference_view(),
            lambda model: (
                evaluate_model(model, exam, "validation", STRICT_PARSER, NoProgress())[0].accuracy
            ),
        ),
    )
