"""Run the learning curve (`medtune study learning-curve EXPERIMENT`): size against selection.

Every size x selection x target, at equal epochs and at equal steps, with every seed, on one pool of
cleaned questions; all are evaluated on the same questions by the experiment's primary method.
The base model and every training are cells.  Writes `record.json` and `learning-curve.html`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.experiment import BalanceConfig, CurationConfig, Experiment
from medtune.core.predictions_io import RECORD_FILE, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import TrainingTarget, form_for_target
from medtune.core.records import TrainingRecord, content_hash
from medtune.core.run_folder import read_record, write_record
from medtune.data.load import describe_split
from medtune.data.pipeline import select_pool
from medtune.data.snapshot import Snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.studies.grid import StudyCell, prepare_shared_snapshot, run_cells
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.learning_curve.analysis import ArmResults, build_learning_curve_record
from medtune.studies.learning_curve.page import write_learning_curve
from medtune.studies.learning_curve.schema import (
    SELECTIONS,
    SIZES,
    Arm,
    Equal,
    LearningCurveRecord,
    Selection,
)
from medtune.training.finetune import TRAINING_RECORD_FILE as TRAINING
from medtune.workflows.finetune import (
    finetune_cached,
    load_base_model,
    load_tuned_model,
    resolve_trainable,
)

PAGE = "learning-curve.html"
BASE = "base"


@dataclass(frozen=True, slots=True)
class CurveOptions:
    """Options of `medtune study learning-curve`.

    Raises:
        InputError: A size is invalid or given twice, or there is nothing to vary.
    """

    experiment: Experiment
    sizes: tuple[int, ...] = SIZES
    selections: tuple[Selection, ...] = SELECTIONS
    targets: tuple[TrainingTarget, ...] = ()
    """Targets; empty uses the experiment's."""
    equal: tuple[Equal, ...] = ("epochs", "steps")

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or len(set(self.sizes)) < len(self.sizes):
            raise InputError(
                f"sizes {', '.join(map(str, self.sizes)) or 'none'}",
                expected="whole numbers from 1 on, no two alike",
                fix="for instance --sizes 125,500,2000",
            )

    def list_arms(self) -> Iterator[Arm]:
        """List the arms of the study."""
        for target in self.targets or (self.experiment.training.target,):
            for equal in self.equal:
                for selection in self.selections:
                    for size in sorted(self.sizes):
                        yield Arm(size=size, selection=selection, target=target, equal=equal)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the experiment."""
        return self.experiment.seeds or (self.experiment.seed,)

    @property
    def steps(self) -> int:
        """Optimizer steps of the largest size."""
        training = self.experiment.training
        return -(-max(self.sizes) // training.batch_size) * training.epochs


def run_learning_curve(
    options: CurveOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> LearningCurveRecord | GridState:
    """Train and evaluate every arm.

    Returns:
        The study record; or the progress, while other shards have cells left.

    Raises:
        DataError: The pool is smaller than a size.
        MedtuneError: The data, the model or the folder cannot be used, or a training failed.
    """
    grid = _Grid.from_options(options, folder, progress)
    worker = partial(_run_worker, options, folder, replace(hands, workers=1))
    state = run_cells("learning curve", grid.list_cells(), folder, hands, progress, worker)
    if state.left:
        return state
    grown = {}
    for arm in options.list_arms():
        places = {seed: folder / "cells" / grid.cell_name(arm, seed) for seed in options.seeds}
        trainings = {seed: read_record(p / TRAINING, TrainingRecord) for seed, p in places.items()}
        grown[arm] = ArmResults(
            {seed: found for seed, found in trainings.items() if found is not None},
            {seed: read_evaluation(place / "exam") for seed, place in places.items()},
        )
    record = build_learning_curve_record(
        options.experiment.name,
        read_evaluation(folder / "cells" / BASE / "exam"),
        grown,
        grid.pool.train.description,
        state.cell_s,
    )
    write_learning_curve(folder / PAGE, record)
    write_record(folder / RECORD_FILE, record)
    return record


def _run_worker(options: CurveOptions, folder: Path, hands: WorkerCounts) -> None:
    cells = _Grid.from_options(options, folder, NoProgress()).list_cells()
    run_cells("learning curve", cells, folder, hands, NoProgress())


@dataclass(frozen=True)
class _Grid:
    """The study's data and its cells."""

    options: CurveOptions
    source: ModelSource
    pool: Snapshot
    progress: Progress

    @classmethod
    def from_options(cls, options: CurveOptions, folder: Path, progress: Progress) -> _Grid:
        """Prepare the pool, or wait until another process has done it."""
        experiment = options.experiment
        source = resolve_trainable(experiment, progress)
        # Cleaned and decontaminated once; every arm samples from it.
        plain = {"train_size": None, "curation": CurationConfig(), "balance": BalanceConfig()}
        data = experiment.data.model_copy(update=plain)
        pool = prepare_shared_snapshot(data, experiment.seed, folder, progress)
        return cls(options, source, pool, progress)

    def cell_name(self, arm: Arm, seed: int) -> str:
        """Return the cell name of an arm: at the largest size, equal steps are equal epochs."""
        if arm.size == max(self.options.sizes) and "epochs" in self.options.equal:
            arm = arm.model_copy(update={"equal": "epochs"})
        return f"{arm.name}-seed{seed}"

    def list_cells(self) -> list[StudyCell]:
        """List the evaluation of the base model, and every training with its evaluation."""
        experiment = self.options.experiment
        evaluated = self.pool.evaluated[0].description.hash
        shared = [
            self.source.fingerprint,
            self.pool.train.description.hash,
            evaluated,
            experiment.evaluation.model_dump(mode="json"),
            STRICT_PARSER.version,
        ]
        cells = {
            BASE: StudyCell(
                BASE,
                content_hash([experiment.model_dump(mode="json"), shared]),
                partial(self._evaluate_base, experiment),
            )
        }
        for arm in self.options.list_arms():
            for seed in self.options.seeds:
                one = arm.to_experiment(experiment, seed, self.options.steps)
                inputs = content_hash([one.model_dump(mode="json"), shared])
                name = self.cell_name(arm, seed)
                cells.setdefault(name, StudyCell(name, inputs, partial(self._train, one, name)))
        return list(cells.values())

    def _evaluate_base(self, experiment: Experiment, place: Path) -> None:
        self._evaluate(load_base_model(experiment, self.source), BASE, experiment, place)

    def _train(self, one: Experiment, name: str, place: Path) -> None:
        pool = self.pool.train
        source = pool.description.source
        drawn = select_pool(pool.questions, one.data, one.seed, source).drawn
        train = replace(
            pool, questions=drawn.questions, description=describe_split(source, drawn.questions, {})
        )
        finetune_cached(one, self.source, replace(self.pool, train=train), place, self.progress)
        self._evaluate(load_tuned_model(one, self.source, place), name, one, place)

    def _evaluate(self, model: LocalModel, label: str, one: Experiment, place: Path) -> None:
        split = self.pool.evaluated[0]
        exam = Exam.from_config(
            one.evaluation.model_copy(update={"options_only": 0, "shots": 0}),
            one.evaluation.methods[0],
            split.questions,
            split.description,
            one.prompt,
            form_for_target(one.training.target),
            (),
        )
        evaluate_or_reuse(model, exam, label, STRICT_PARSER, place / "exam", self.progress)
