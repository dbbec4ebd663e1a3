"""Fine-tune only (`medtune train EXPERIMENT`).

Prepares the data and trains, as `medtune run` does between its two evaluations.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.config import to_toml
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.records import TrainingRecord
from medtune.core.run_folder import write_text
from medtune.data.snapshot import prepare_snapshot
from medtune.training.processes import join_processes
from medtune.workflows.distributed import lock_on_main, run_on_main
from medtune.workflows.finetune import finetune_cached, resolve_trainable
from medtune.workflows.search_reference import INDEX_FOLDER
from medtune.workflows.training_evidence import open_evidence


def train(experiment: Experiment, folder: Path, progress: Progress) -> list[TrainingRecord]:
    """Train and write `data/` and `adapter/` or `model/`; several seeds write to `seeds/`.

    An open-book experiment that names no index has one of the train split in `index/`.

    Under `accelerate launch` or `torchrun` rank 0 prepares and writes, and all ranks share the
    steps.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    here = join_processes()
    source = resolve_trainable(experiment, progress)
    with lock_on_main(folder):
        with here.main_process_first():
            snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
            index = folder / INDEX_FOLDER
            evidence = open_evidence(experiment.retrieval, snapshot, index, progress)
        run_on_main(lambda: write_text(folder / "experiment.toml", to_toml(experiment)))
        return [
            finetune_cached(one, source, snapshot, folder / place, progress, evidence)
            for place, one in experiment.list_trainings()
        ]
