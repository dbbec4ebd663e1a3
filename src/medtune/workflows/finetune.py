"""Fine-tune a base model on a snapshot, and load the trained weights of a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medtune.core.errors import ModelError
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import prompt_fingerprint
from medtune.core.protocols import ModelIdentity
from medtune.core.records import TrainingRecord
from medtune.data.snapshot import Snapshot, SnapshotSplit
from medtune.data.trained_on import question_hashes
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.adapters import lora
from medtune.models.adapters.full import FullFineTuned
from medtune.models.adapters.trainable import TrainableModel
from medtune.models.local.local_model import LocalModel
from medtune.models.memory import FULL_TRAINING, check_memory
from medtune.models.model_argument import resolve_model_argument
from medtune.models.sources import ModelSource, resolve_model
from medtune.models.unloaded_model import UnloadedModel
from medtune.models.weights_card import read_quantized_card
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import read_index_manifest
from medtune.training.finished import find_finished_training, hash_training_inputs
from medtune.training.passages import hash_training_passages
from medtune.training.processes import join_processes
from medtune.training.trackers import check_trackers
from medtune.training.trainable import Validation
from medtune.workflows.distributed import is_main, run_distributed
from medtune.workflows.training_evidence import exclude_leaks, find_training_passages


def resolve_trainable(experiment: Experiment, progress: Progress) -> ModelSource:
    """Resolve the base model and check that training is possible, before any work begins.

    Raises:
        ConfigError: A tracker is not installed.
        RetrievalError: The experiment names a folder that holds no passage index.
        ModelError: The model cannot be found or cannot be trained.
    """
    check_trackers(experiment.track)
    if experiment.retrieval.is_open_book and experiment.retrieval.index:
        read_index_manifest(Path(experiment.retrieval.index))
    source = resolve_model(resolve_model_argument(experiment.model.source), progress)
    if source.kind == "fake":
        raise ModelError(f"{source.name} cannot be trained", expected="a real base model")
    if source.folder and (card := read_quantized_card(source.folder)):
        raise ModelError(
            f"{source.name} is quantized as {card.scheme} and cannot be trained",
            expected=f"the model that it was made from: {card.base}",
        )
    return source


def base_model(experiment: Experiment, source: ModelSource) -> UnloadedModel:
    """Return the base model in the dtype and attention of the experiment."""
    return UnloadedModel(source, experiment.model.dtype, experiment.model.attention)


def tuned_model(experiment: Experiment, source: ModelSource, folder: Path) -> UnloadedModel:
    """Return the model that was trained in a run folder."""
    settings = experiment.training
    place = folder / settings.artefact_folder
    if settings.method == "full":
        return base_model(experiment, resolve_model(f"path:{place}"))
    return replace(
        base_model(experiment, source),
        adapter=place,
        style=experiment.prompt,
        retrieval=experiment.retrieval,
    )


def finetune_cached(
    experiment: Experiment,
    source: ModelSource,
    snapshot: Snapshot,
    folder: Path,
    progress: Progress,
    evidence: EvidenceFinder | None = None,
) -> TrainingRecord:
    """Fine-tune, or return the record of the folder if its inputs are the same.

    The base model is loaded only if the training is not found by its description.

    Args:
        experiment: The settings.
        source: The base model.
        snapshot: The data.
        folder: The run folder.
        progress: Progress reports.
        evidence: Finds the passages of an open-book experiment; None for a closed book.

    Raises:
        MedtuneError: As `fine_tune` does.
    """
    split, held = snapshot.train.description, snapshot.validation
    here = join_processes()
    unloaded = base_model(experiment, source)
    if record := find_training(experiment, unloaded, snapshot, folder, progress, evidence):
        return record
    if experiment.training.method == "full" and here.num_processes == 1:  # shards need less
        known = unloaded.describe()
        check_memory(source.name, known.parameters or 0, FULL_TRAINING, known.device or "cpu")
    base = unloaded.load()
    if record := find_training(experiment, base, snapshot, folder, progress, evidence):
        return record
    # torch.distributed takes a second
    from medtune.training.finetune import fine_tune

    trainable = _make_trainable(experiment, base)
    questions, passages = snapshot.train.questions, None
    if evidence is not None:
        with here.main_process_first():
            passages = find_training_passages(evidence, questions, split, folder, progress)
    watch = _plan_validation(experiment, trainable, held, evidence, progress) if held else None
    hashes = question_hashes(questions)
    return fine_tune(
        trainable, experiment, questions, split, folder, progress, watch, hashes, passages
    )


def find_training(
    experiment: Experiment,
    base: ModelIdentity,
    snapshot: Snapshot,
    folder: Path,
    progress: Progress,
    evidence: EvidenceFinder | None = None,
) -> TrainingRecord | None:
    """Return the record of a finished training with the same inputs; see `finetune_cached`."""
    split, held = snapshot.train.description, snapshot.validation
    artefact = experiment.training.artefact_folder
    shown = experiment.retrieval.prompt_settings
    assert (evidence is None) == (shown is None), "prompts show passages of an open book alone"
    inputs = hash_training_inputs(
        experiment,
        base.describe(),
        prompt_fingerprint(experiment.prompt, base.render, shown),
        split,
        held.description if held else None,
        hash_training_passages(evidence, split) if evidence is not None else None,
    )
    if record := find_finished_training(folder, artefact, inputs):
        progress.log_message(f"{folder / artefact}: still valid")
    return record


def _make_trainable(experiment: Experiment, base: LocalModel) -> TrainableModel:
    settings = experiment.training
    if settings.method == "full":
        return FullFineTuned(base, settings.recompute)
    return lora.LoraModel(base, settings.lora, experiment.seed, settings.recompute)


def _plan_validation(
    experiment: Experiment,
    trainable: TrainableModel,
    held: SnapshotSplit,
    evidence: EvidenceFinder | None,
    progress: Progress,
) -> Validation:
    """Build the validation that runs during training, with the same kind of evidence."""
    exam = Exam.for_validation(experiment, held.questions, held.description)
    if evidence is not None and is_main():  # the other processes only answer
        exam = replace(exam, evidence=exclude_leaks(evidence, held.questions, progress))
    return Validation(
        held.description,
        lambda: run_distributed(
            trainable.inference_view(),
            lambda model: (
                evaluate_model(model, exam, "validation", STRICT_PARSER, NoProgress())[0].accuracy
            ),
        ),
    )
