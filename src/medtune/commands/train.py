"""`medtune train EXPERIMENT`: the fine-tune alone.

Data, base model, trained weights: what `medtune run` does between its two examinations.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.config import to_toml
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.records import TrainingRecord
from medtune.core.run_folder import write_text
from medtune.data.snapshot import prepare_snapshot
from medtune.training.processes import processes
from medtune.workflows.distributed import first, held
from medtune.workflows.finetune import adapt, trainable_source


def train(experiment: Experiment, folder: Path, progress: Progress) -> list[TrainingRecord]:
    """Write `data/` and `adapter/` (or `model/`) of a run folder, or one per seed in `seeds/`.

    Under `accelerate launch` or `torchrun` every process comes here: the first prepares and writes,
    and all share the steps.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    here = processes()
    source = trainable_source(experiment, progress)
    with held(folder):
        with here.main_process_first():
            snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        first(lambda: write_text(folder / "experiment.toml", to_toml(experiment)))
        return [
            adapt(one, source, snapshot, folder / place, progress)
            for place, one in experiment.trainings()
        ]
