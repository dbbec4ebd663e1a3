"""`medtune study learning-curve EXPERIMENT`: does size or selection count?

Every size x selection x target, at equal epochs and at equal steps, from every seed, on one pool
of cleaned questions; all are examined on the same questions by the experiment's primary method.
The base model and every training are cells.  Writes `record.json` and `learning-curve.html`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.experiment import BalanceConfig, CurationConfig, Experiment
from medtune.core.predictions_io import RECORD, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import Target, form_taught
from medtune.core.records import TrainingRecord, content_hash
from medtune.core.run_folder import read_record, write_record
from medtune.data.load import describe
from medtune.data.pipeline import select
from medtune.data.snapshot import Snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.studies.grid import StudyCell, go_through, snapshot_for_all
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.learning_curve.analysis import ArmResults, draw_curve
from medtune.studies.learning_curve.page import write_learning_curve
from medtune.studies.learning_curve.schema import (
    SELECTIONS,
    SIZES,
    Arm,
    Equal,
    LearningCurveRecord,
    Selection,
)
from medtune.training.finetune import RECORD as TRAINING
from medtune.workflows.finetune import adapt, base_model, trainable_source, tuned_model

PAGE = "learning-curve.html"
BASE = "base"


@dataclass(frozen=True, slots=True)
class CurveOptions:
    """What the command line may say.

    Raises:
        InputError: A size is given twice or is no size, or there is nothing to vary.
    """

    experiment: Experiment
    sizes: tuple[int, ...] = SIZES
    selections: tuple[Selection, ...] = SELECTIONS
    targets: tuple[Target, ...] = ()
    """Empty is the experiment's own."""
    equal: tuple[Equal, ...] = ("epochs", "steps")

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or len(set(self.sizes)) < len(self.sizes):
            raise InputError(
                f"sizes {', '.join(map(str, self.sizes)) or 'none'}",
                expected="whole numbers from 1 on, no two alike",
                fix="for instance --sizes 125,500,2000",
            )

    def arms(self) -> Iterator[Arm]:
        """List the arms."""
        for target in self.targets or (self.experiment.training.target,):
            for equal in self.equal:
                for selection in self.selections:
                    for size in sorted(self.sizes):
                        yield Arm(size=size, selection=selection, target=target, equal=equal)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of the experiment."""
        return self.experiment.seeds or (self.experiment.seed,)

    @property
    def steps(self) -> int:
        """Steps of the largest size."""
        training = self.experiment.training
        return -(-max(self.sizes) // training.batch_size) * training.epochs


def learning_curve(
    options: CurveOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> LearningCurveRecord | GridState:
    """Train and examine every arm.

    Returns:
        The study; or how far it is, while other shards have work to do.

    Raises:
        DataError: The pool is smaller than a size.
        MedtuneError: The data, the model or the folder cannot be used, or a training failed.
    """
    grid = _Grid.prepared(options, folder, progress)
    worker = partial(_worker, options, folder, replace(hands, workers=1))
    state = go_through("learning curve", grid.cells(), folder, hands, progress, worker)
    if state.left:
        return state
    grown = {}
    for arm in options.arms():
        places = {seed: folder / "cells" / grid.name(arm, seed) for seed in options.seeds}
        trainings = {seed: read_record(p / TRAINING, TrainingRecord) for seed, p in places.items()}
        grown[arm] = ArmResults(
            {seed: found for seed, found in trainings.items() if found is not None},
            {seed: read_evaluation(place / "exam") for seed, place in places.items()},
        )
    record = draw_curve(
        options.experiment.name,
        read_evaluation(folder / "cells" / BASE / "exam"),
        grown,
        grid.pool.train.description,
        state.cell_s,
    )
    write_learning_curve(folder / PAGE, record)
    write_record(folder / RECORD, record)
    return record


def _worker(options: CurveOptions, folder: Path, hands: WorkerCounts) -> None:
    cells = _Grid.prepared(options, folder, NoProgress()).cells()
    go_through("learning curve", cells, folder, hands, NoProgress())


@dataclass(frozen=True)
class _Grid:
    """The study's data and what is done with it."""

    options: CurveOptions
    source: ModelSource
    pool: Snapshot
    progress: Progress

    @classmethod
    def prepared(cls, options: CurveOptions, folder: Path, progress: Progress) -> _Grid:
        """Prepare the pool, or wait for another process to have done it."""
        experiment = options.experiment
        source = trainable_source(experiment, progress)
        # Cleaned and separated once; every arm curates and draws from it.
        plain = {"train_size": None, "curation": CurationConfig(), "balance": BalanceConfig()}
        data = experiment.data.model_copy(update=plain)
        pool = snapshot_for_all(data, experiment.seed, folder, progress)
        return cls(options, source, pool, progress)

    def name(self, arm: Arm, seed: int) -> str:
        """Name an arm's cell: at the largest size, equal steps are equal epochs."""
        if arm.size == max(self.options.sizes) and "epochs" in self.options.equal:
            arm = arm.model_copy(update={"equal": "epochs"})
        return f"{arm.name}-seed{seed}"

    def cells(self) -> list[StudyCell]:
        """List the base model's examination, and every training with its own."""
        experiment = self.options.experiment
        evaluated = self.pool.evaluated[0].description.hash
        shared = [
            self.source.fingerprint,
            self.pool.train.description.hash,
            evaluated,
            experiment.evaluation.model_dump(mode="json"),
            STRICT.version,
        ]
        cells = {
            BASE: StudyCell(
                BASE,
                content_hash([experiment.model_dump(mode="json"), shared]),
                partial(self._base, experiment),
            )
        }
        for arm in self.options.arms():
            for seed in self.options.seeds:
                one = arm.experiment(experiment, seed, self.options.steps)
                inputs = content_hash([one.model_dump(mode="json"), shared])
                name = self.name(arm, seed)
                cells.setdefault(name, StudyCell(name, inputs, partial(self._train, one, name)))
        return list(cells.values())

    def _base(self, experiment: Experiment, place: Path) -> None:
        self._sit(base_model(experiment, self.source), BASE, experiment, place)

    def _train(self, one: Experiment, name: str, place: Path) -> None:
        pool = self.pool.train
        source = pool.description.source
        drawn = select(pool.questions, one.data, one.seed, source).drawn
        train = replace(
            pool, questions=drawn.questions, description=describe(source, drawn.questions, {})
        )
        adapt(one, self.source, replace(self.pool, train=train), place, self.progress)
        self._sit(tuned_model(one, self.source, place), name, one, place)

    def _sit(self, model: LocalModel, label: str, one: Experiment, place: Path) -> None:
        split = self.pool.evaluated[0]
        exam = Exam.planned(
            one.evaluation.model_copy(update={"options_only": 0, "shots": 0}),
            one.evaluation.methods[0],
            split.questions,
            split.description,
            one.prompt,
            form_taught(one.training.target),
            (),
        )
        examined(model, exam, label, STRICT, place / "exam", self.progress)
