"""A base model learns: from a snapshot to trained weights in a run folder, and back to a model."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import ModelError
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import fingerprint
from medtune.core.records import TrainingRecord
from medtune.data.snapshot import Snapshot, SnapshotSplit
from medtune.data.trained_on import question_hashes
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examine
from medtune.models.adapters import lora
from medtune.models.adapters.full import FullFineTuned
from medtune.models.adapters.trainable import Trainee
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve
from medtune.models.weights_card import card_of
from medtune.training.finetune import Validation, fine_tune, trained_already, training_inputs
from medtune.training.trackers import check_trackers
from medtune.workflows.distributed import together


def trainable_source(experiment: Experiment, progress: Progress) -> ModelSource:
    """Find the base model, and everything else that only a training needs, before work begins.

    Raises:
        ConfigError: A tracker is not installed.
        ModelError: The model cannot be found, or not be trained.
    """
    check_trackers(experiment.track)
    source = resolve(experiment.model.source, progress)
    if source.kind == "fake":
        raise ModelError(f"{source.name} cannot be trained", expected="a real base model")
    if source.folder and (card := card_of(source.folder)) and card.packed:
        raise ModelError(
            f"{source.name} is packed as {card.scheme} and cannot be trained",
            expected=f"the model that it was made from: {card.base}",
        )
    return source


def base_model(experiment: Experiment, source: ModelSource) -> LocalModel:
    """Load the base model as the experiment says."""
    return LocalModel.load(source, experiment.model.dtype, experiment.model.attention)


def adapt(
    experiment: Experiment,
    source: ModelSource,
    snapshot: Snapshot,
    folder: Path,
    progress: Progress,
) -> TrainingRecord:
    """Train, unless the folder already holds what this very training gives.

    Raises:
        MedtuneError: As `fine_tune` does.
    """
    base = base_model(experiment, source)
    split, held = snapshot.train.description, snapshot.validation
    prompt_hash = fingerprint(experiment.prompt, base.render)
    inputs = training_inputs(
        experiment, base.describe(), prompt_hash, split, held.description if held else None
    )
    if record := trained_already(folder, experiment.training.artefact, inputs):
        progress.say(f"{folder / experiment.training.artefact}: still valid")
        return record
    trainee = _trainee(experiment, base)
    watch = _watch(experiment, trainee, held) if held else None
    questions = snapshot.train.questions
    hashes = question_hashes(questions)
    return fine_tune(trainee, experiment, questions, split, folder, progress, watch, hashes)


def tuned_model(experiment: Experiment, source: ModelSource, folder: Path) -> LocalModel:
    """Load what was saved, into weights that training never touched."""
    settings = experiment.training
    place = folder / settings.artefact
    if settings.method == "full":
        return base_model(experiment, resolve(f"path:{place}"))
    base = base_model(experiment, source)
    return lora.load(base, place, fingerprint(experiment.prompt, base.render))


def _trainee(experiment: Experiment, base: LocalModel) -> Trainee:
    settings = experiment.training
    if settings.method == "full":
        return FullFineTuned(base, settings.recompute)
    return lora.LoraModel(base, settings.lora, experiment.seed, settings.recompute)


def _watch(experiment: Experiment, trainee: Trainee, held: SnapshotSplit) -> Validation:
    """Plan what is examined while training goes on."""
    exam = Exam.watching(experiment, held.questions, held.description)
    return Validation(
        held.description,
        lambda: together(
            trainee.model(),
            lambda model: examine(model, exam, "validation", STRICT, NoProgress())[0].accuracy,
        ),
    )
