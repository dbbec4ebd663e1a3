"""`medtune train EXPERIMENT`: the fine-tune alone.

Data, base model, adapter: what `medtune run` does between its two examinations.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.config import to_toml
from medtune.core.errors import ModelError
from medtune.core.experiment import Experiment
from medtune.core.folder import locked, write_text
from medtune.core.progress import Progress
from medtune.core.prompt import fingerprint
from medtune.core.records import TrainingRecord
from medtune.data.snapshot import prepare_snapshot
from medtune.models.local import LocalModel
from medtune.models.lora import Adapted
from medtune.models.sources import resolve
from medtune.training.finetune import fine_tune, trained_already, training_inputs


def train(experiment: Experiment, folder: Path, progress: Progress) -> TrainingRecord:
    """Write `data/` and `adapter/` of a run folder.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    source = resolve(experiment.model.source, progress)
    if source.kind == "fake":
        raise ModelError(f"{source.name} cannot be trained", expected="a real base model")
    with locked(folder):
        snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        write_text(folder / "experiment.toml", to_toml(experiment))
        model = LocalModel.load(source, experiment.model.dtype, experiment.model.attention)
        split = snapshot.train.description
        prompt_hash = fingerprint(experiment.prompt, model.render)
        inputs = training_inputs(experiment, model.describe(), prompt_hash, split)
        if record := trained_already(folder, inputs):
            progress.say(f"{folder / 'adapter'}: still valid")
            return record
        adapted = Adapted(model, experiment.training.lora, experiment.seed)
        return fine_tune(adapted, experiment, snapshot.train.questions, split, folder, progress)
