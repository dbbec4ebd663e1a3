"""Run the learning curve (`medtune study learning-curve EXPERIMENT`): size against selection.

Every size x selection x target, at equal epochs and at equal steps, with every seed, on one pool of
cleaned questions; all are evaluated on the same questions by the experiment's primary method.
The base model and every training are cells.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.experiment import BalanceConfig, CurationConfig, Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import TrainingTarget, form_for_target
from medtune.core.records import content_hash
from medtune.data.load import describe_split
from medtune.data.pipeline import select_pool
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.models.local.local_model import LocalModel
from medtune.studies.grid import StudyCell
from medtune.studies.grid_schema import GridState
from medtune.studies.learning_curve.analysis import ArmResults, build_learning_curve_record
from medtune.studies.learning_curve.schema import (
    SELECTIONS,
    SIZES,
    Arm,
    Equal,
    LearningCurveRecord,
    Selection,
)
from medtune.studies.training_study import BASE, TrainingStudy


class LearningCurveStudy(TrainingStudy[LearningCurveRecord]):
    """The learning curve of an experiment.

    Args:
        experiment: The experiment, for all settings that the arms do not vary.
        sizes: Numbers of training questions.
        selections: How they are chosen.
        targets: Training targets; empty uses the experiment's.
        equal: Whether arms have equal epochs, equal steps, or one arm of each.

    Raises:
        InputError: A size is invalid or given twice, or there is nothing to vary.
        DataError: The pool is smaller than a size.
    """

    name = "learning curve"
    page = "learning-curve.html"

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        experiment: Experiment,
        sizes: tuple[int, ...] = SIZES,
        selections: tuple[Selection, ...] = SELECTIONS,
        targets: tuple[TrainingTarget, ...] = (),
        equal: tuple[Equal, ...] = ("epochs", "steps"),
    ) -> None:
        if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
            raise InputError(
                f"sizes {', '.join(map(str, sizes)) or 'none'}",
                expected="whole numbers from 1 on, no two alike",
                fix="for instance --sizes 125,500,2000",
            )
        super().__init__(folder, progress, experiment)
        self._arms = [
            Arm(size=size, selection=selection, target=target, equal=same)
            for target in targets or (experiment.training.target,)
            for same in equal
            for selection in selections
            for size in sorted(sizes)
        ]
        self._seeds = experiment.seeds or (experiment.seed,)
        self._largest, self._equal = max(sizes), equal
        # Cleaned and decontaminated once; every arm samples from it.
        plain = {"train_size": None, "curation": CurationConfig(), "balance": BalanceConfig()}
        self._pool = self.prepare_data(experiment.data.model_copy(update=plain), experiment.seed)

    def list_cells(self) -> list[StudyCell]:
        """List the evaluation of the base model, and every training with its evaluation."""
        experiment, training = self.experiment, self.experiment.training
        steps = -(-self._largest // training.batch_size) * training.epochs
        shared = [
            self.source.fingerprint,
            self._pool.train.description.hash,
            self._pool.evaluated[0].description.hash,
            experiment.evaluation.model_dump(mode="json"),
            STRICT_PARSER.version,
        ]
        inputs = content_hash([experiment.model_dump(mode="json"), shared])
        cells = {BASE: StudyCell(BASE, inputs, self._evaluate_base)}
        for arm in self._arms:
            for seed in self._seeds:
                one = arm.to_experiment(experiment, seed, steps)
                inputs = content_hash([one.model_dump(mode="json"), shared])
                name = self._cell_name(arm, seed)
                cells.setdefault(name, StudyCell(name, inputs, partial(self._train, one, name)))
        return list(cells.values())

    def build_record(self, state: GridState) -> LearningCurveRecord:
        """Compare the arms with the base model and with each other."""
        grown = {}
        for arm in self._arms:
            names = {seed: self._cell_name(arm, seed) for seed in self._seeds}
            grown[arm] = ArmResults(
                {seed: self.read_training(name) for seed, name in names.items()},
                {seed: self.read_cell(name, "exam") for seed, name in names.items()},
            )
        return build_learning_curve_record(
            self.experiment.name,
            self.read_cell(BASE, "exam"),
            grown,
            self._pool.train.description,
            state.cell_s,
        )

    def _cell_name(self, arm: Arm, seed: int) -> str:
        """Return the cell name of an arm: at the largest size, equal steps are equal epochs."""
        if arm.size == self._largest and "epochs" in self._equal:
            arm = arm.model_copy(update={"equal": "epochs"})
        return f"{arm.name}-seed{seed}"

    def _evaluate_base(self, place: Path) -> None:
        self._evaluate(self.load_base(), BASE, self.experiment, place)

    def _train(self, one: Experiment, name: str, place: Path) -> None:
        pool = self._pool.train
        source = pool.description.source
        drawn, _, _ = select_pool(pool.questions, one.data, one.seed, source)
        train = replace(
            pool, questions=drawn.questions, description=describe_split(source, drawn.questions, {})
        )
        model = self.train(one, replace(self._pool, train=train), place)
        self._evaluate(model, name, one, place)

    def _evaluate(self, model: LocalModel, label: str, one: Experiment, place: Path) -> None:
        split = self._pool.evaluated[0]
        exam = Exam.from_config(
            one.evaluation.model_copy(update={"options_only": 0, "shots": 0}),
            one.evaluation.methods[0],
            split.questions,
            split.description,
            one.prompt,
            form_for_target(one.training.target),
            (),
        )
        self.evaluate(model, exam, label, place / "exam")
