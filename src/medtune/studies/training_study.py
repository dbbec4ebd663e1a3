"""Train and load the models of a study whose cells are trainings."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.records import TrainingRecord
from medtune.core.run_folder import read_record
from medtune.data.snapshot import Snapshot
from medtune.models.local.local_model import LocalModel
from medtune.retrieval.evidence import EvidenceFinder
from medtune.studies.runner import RecordT, Study
from medtune.training.finished import TRAINING_RECORD_FILE
from medtune.workflows.finetune import (
    base_model,
    finetune_cached,
    resolve_trainable,
    tuned_model,
)
from medtune.workflows.search_baseline import refuse_open_book

BASE = "base"
"""Name of the cell of the untrained model."""


class TrainingStudy(Study[RecordT]):
    """A study that trains one base model in several ways.

    Attributes:
        shows_passages: Whether it can show passages in its prompts.

    Raises:
        InputError: The experiment shows passages in its prompts, and the study cannot.
        ModelError: The model cannot be found or cannot be trained.
    """

    shows_passages: ClassVar[bool] = False

    def __init__(self, folder: Path, progress: Progress, experiment: Experiment) -> None:
        if not self.shows_passages:
            refuse_open_book(experiment, f"medtune study {self.name.replace(' ', '-')}")
        super().__init__(folder, progress)
        self.experiment = experiment
        self.source = resolve_trainable(experiment, progress)

    def load_base(self) -> LocalModel:
        """Load the untrained model."""
        return base_model(self.experiment, self.source).load()

    def train(
        self,
        experiment: Experiment,
        snapshot: Snapshot,
        folder: Path,
        evidence: EvidenceFinder | None = None,
    ) -> LocalModel:
        """Train in a folder, unless it holds that training, and load the trained model."""
        finetune_cached(experiment, self.source, snapshot, folder, self.progress, evidence)
        return tuned_model(experiment, self.source, folder).load()

    def read_training(self, name: str) -> TrainingRecord:
        """Read the training record of a finished cell."""
        record = read_record(self.cell_folder(name) / TRAINING_RECORD_FILE, TrainingRecord)
        assert record is not None, "a finished cell has a training"
        return record
