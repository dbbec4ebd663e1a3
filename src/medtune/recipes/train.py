"""`medtune train EXPERIMENT`: the fine-tune alone.

Data, base model, adapter: what `medtune run` does between its two examinations.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from medtune.analysis.exam import Exam
from medtune.analysis.examine import examine
from medtune.answers.parse import STRICT
from medtune.core.config import to_toml
from medtune.core.errors import ModelError
from medtune.core.experiment import Experiment
from medtune.core.folder import locked, write_text
from medtune.core.progress import Progress, Silent
from medtune.core.prompt import fingerprint
from medtune.core.records import TrainingRecord
from medtune.data.snapshot import SnapshotSplit, prepare_snapshot
from medtune.models.local import LocalModel
from medtune.models.lora import Adapted
from medtune.models.sources import resolve
from medtune.training.finetune import Watch, fine_tune, trained_already, training_inputs
from medtune.training.processes import processes
from medtune.training.tracking import check_trackers


def train(experiment: Experiment, folder: Path, progress: Progress) -> TrainingRecord:
    """Write `data/` and `adapter/` of a run folder.

    Under `accelerate launch` or `torchrun` every process comes here: the first prepares and writes,
    and all share the steps.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    here = processes()
    check_trackers(experiment.track)
    source = resolve(experiment.model.source, progress)
    if source.kind == "fake":
        raise ModelError(f"{source.name} cannot be trained", expected="a real base model")
    with locked(folder) if here.is_main_process else nullcontext():
        with here.main_process_first():
            snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        if here.is_main_process:
            write_text(folder / "experiment.toml", to_toml(experiment))
        model = LocalModel.load(source, experiment.model.dtype, experiment.model.attention)
        split, held = snapshot.train.description, snapshot.validation
        prompt_hash = fingerprint(experiment.prompt, model.render)
        inputs = training_inputs(
            experiment, model.describe(), prompt_hash, split, held.description if held else None
        )
        if record := trained_already(folder, inputs):
            progress.say(f"{folder / 'adapter'}: still valid")
            return record
        settings = experiment.training
        adapted = Adapted(model, settings.lora, experiment.seed, settings.recompute)
        watch = _watch(experiment, adapted, held) if held else None
        train_questions = snapshot.train.questions
        return fine_tune(adapted, experiment, train_questions, split, folder, progress, watch)


def _watch(experiment: Experiment, adapted: Adapted, held: SnapshotSplit) -> Watch:
    """Plan what is examined while training goes on."""
    exam = Exam.watching(experiment, held.questions, held.description)
    return Watch(
        held.description,
        lambda: examine(adapted.model(), exam, "validation", STRICT, Silent())[0].accuracy,
    )
