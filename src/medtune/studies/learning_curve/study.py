"""Run the learning curve (`medtune study learning-curve EXPERIMENT`): size against selection.

Every size x selection x target x kind of retrieval, at equal epochs and at equal steps, on one pool
of cleaned questions; all are evaluated on the same questions by the experiment's primary method.
The base model and every training are cells.  All arms with passages read one index, of the pool or
the experiment's own, and no training question reads its own passage.  With `seeds_under` the first
seed of every arm is trained first, and then the others of those arms that were cheap enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.experiment import BalanceConfig, CurationConfig, Experiment, RetrievalKind
from medtune.core.progress import Progress
from medtune.core.prompt import TrainingTarget, form_for_target
from medtune.core.records import content_hash
from medtune.core.run_folder import lock_folder
from medtune.data.load import describe_split
from medtune.data.pipeline import select_pool
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.models.local.local_model import LocalModel
from medtune.retrieval.evidence import EvidenceFinder
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
    change_book,
    name_in_book,
)
from medtune.studies.training_study import BASE, TrainingStudy
from medtune.workflows.search_baseline import SnapshotSearch, search_snapshot


class LearningCurveStudy(TrainingStudy[LearningCurveRecord]):
    """The learning curve of an experiment.

    Args:
        experiment: The experiment, for all settings that the arms do not vary.
        sizes: Numbers of training questions.
        selections: How they are chosen.
        targets: Training targets; empty uses the experiment's.
        equal: Whether arms have equal epochs, equal steps, or one arm of each.
        random_sizes: Further numbers, of questions chosen at random only, at equal epochs: large
            ones, of which the other selections would take nearly all of the pool, too.
        retrieval: Kinds of retrieval, none for the closed book; empty uses the experiment's.
        seeds_under: Train further seeds only of arms whose first training and evaluation took
            fewer minutes; None trains all seeds of all.

    Raises:
        InputError: A size is invalid or given twice, there is nothing to vary, a primary method
            cannot be asked with a kind of retrieval, or there are no further seeds.
        DataError: The pool is smaller than a size.
        RetrievalError: The experiment's index cannot be used.
    """

    name = "learning curve"
    page = "learning-curve.html"
    shows_passages = True

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        experiment: Experiment,
        sizes: tuple[int, ...] = SIZES,
        selections: tuple[Selection, ...] = SELECTIONS,
        targets: tuple[TrainingTarget, ...] = (),
        equal: tuple[Equal, ...] = ("epochs", "steps"),
        retrieval: tuple[RetrievalKind, ...] = (),
        seeds_under: float | None = None,
        random_sizes: tuple[int, ...] = (),
    ) -> None:
        every = (*sizes, *random_sizes)
        if not sizes or min(every) < 1 or len(set(every)) < len(every):
            raise InputError(
                f"sizes {', '.join(map(str, every)) or 'none'}",
                expected="whole numbers from 1 on, no two alike",
                fix="for instance --sizes 125,500,2000",
            )
        if random_sizes and not ("random" in selections and "epochs" in equal):
            raise InputError(
                f"random sizes with selections {', '.join(selections)}, equal {', '.join(equal)}",
                expected="random among --selections, and epochs in --equal",
            )
        if seeds_under is not None and not experiment.seeds:
            raise InputError(
                "--seeds-under with an experiment of a single seed",
                expected="two seeds or more, of which the first is always trained",
                fix="for instance --set 'seeds=[17, 18, 19]'",
            )
        kinds = sorted(retrieval or (experiment.retrieval.kind,), key=lambda kind: kind != "none")
        if "per-option" in kinds and experiment.evaluation.methods[0] == "generate":
            raise InputError(
                "passages per option with the primary method generate, which scores no option",
                expected="evaluation.methods that begin with cloze or letter",
            )
        super().__init__(folder, progress, experiment)
        self._arms = [
            Arm(size=size, selection=selection, target=target, equal=same, retrieval=kind)
            for kind in kinds
            for target in targets or (experiment.training.target,)
            for same in equal
            for selection in selections
            for size in sorted(every if (selection, same) == ("random", "epochs") else sizes)
        ]
        self._seeds = experiment.seeds or (experiment.seed,)
        self._largest, self._equal, self._kinds = max(sizes), equal, kinds
        self._seeds_under = seeds_under
        # Cleaned and decontaminated once; every arm samples from it.
        plain = {"train_size": None, "curation": CurationConfig(), "balance": BalanceConfig()}
        self._pool = self.prepare_data(experiment.data.model_copy(update=plain), experiment.seed)
        self._evidence: dict[RetrievalKind, EvidenceFinder] = {}
        if shown := [kind for kind in kinds if kind != "none"]:
            opened = {kind: change_book(experiment, kind) for kind in shown}
            self._search = self._search_pool(opened[shown[0]])
            for kind, one in opened.items():
                if evidence := self._search.find_evidence(one):
                    self._evidence[kind] = evidence

    def list_cells(self) -> list[StudyCell]:
        """List the evaluations of the base model, and all trainings or those of the first seed."""
        bases = [self._base_cell(kind) for kind in self._kinds]
        seeds = self._seeds if self._seeds_under is None else self._seeds[:1]
        return [*bases, *self._training_cells(dict.fromkeys(self._arms, seeds))]

    def list_last_cells(self) -> list[StudyCell]:
        """List the trainings with further seeds of the arms that are cheap enough."""
        if self._seeds_under is None:
            return []
        return self._training_cells({arm: self._list_seeds(arm)[1:] for arm in self._arms})

    def build_record(self, state: GridState) -> LearningCurveRecord:
        """Compare the arms with the base model and with each other."""
        grown = {}
        for arm in self._arms:
            names = {seed: self._cell_name(arm, seed) for seed in self._list_seeds(arm)}
            grown[arm] = ArmResults(
                {seed: self.read_training(name) for seed, name in names.items()},
                {seed: self.read_cell(name, "exam") for seed, name in names.items()},
            )
        return build_learning_curve_record(
            self.experiment.name,
            {kind: self.read_cell(name_in_book(BASE, kind), "exam") for kind in self._kinds},
            grown,
            self._pool.train.description,
            state.cell_s,
        )

    def _list_seeds(self, arm: Arm) -> tuple[int, ...]:
        """List the seeds of an arm whose first one is trained."""
        if self._seeds_under is None:
            return self._seeds
        name = self._cell_name(arm, self._seeds[0])
        # Not the cell's own time, which leaves out what was done before it was interrupted.
        evaluation, _ = self.read_cell(name, "exam")
        cost_s = self.read_training(name).duration_s + (evaluation.duration_s or 0)
        return self._seeds if cost_s < 60 * self._seeds_under else self._seeds[:1]

    def _base_cell(self, kind: RetrievalKind) -> StudyCell:
        one = change_book(self.experiment, kind)
        name = name_in_book(BASE, kind)

        def work(place: Path) -> None:
            self._evaluate(self.load_base(), name, one, place)

        return StudyCell(name, self._hash_inputs(one), work)

    def _training_cells(self, arms: Mapping[Arm, Sequence[int]]) -> list[StudyCell]:
        training = self.experiment.training
        steps = -(-self._largest // training.batch_size) * training.epochs
        cells: dict[str, StudyCell] = {}
        for arm, seeds in arms.items():
            for seed in seeds:
                one = arm.to_experiment(self.experiment, seed, steps)
                name = self._cell_name(arm, seed)
                work = partial(self._train, one, name)
                cells.setdefault(name, StudyCell(name, self._hash_inputs(one), work))
        return list(cells.values())

    def _hash_inputs(self, one: Experiment) -> str:
        """Hash what determines a cell; where the experiment's own index lies does not."""
        shared = [
            self.source.fingerprint,
            self._pool.train.description.hash,
            self._pool.evaluated[0].description.hash,
            self.experiment.evaluation.model_dump(mode="json"),
            STRICT_PARSER.version,
        ]
        settings = one.model_dump(mode="json")
        if evidence := self._evidence.get(one.retrieval.kind):
            settings["retrieval"]["index"] = evidence.index.manifest.hash
        return content_hash([settings, shared])

    def _search_pool(self, opened: Experiment) -> SnapshotSearch:
        """Search the index for the questions that are not trained on."""
        with lock_folder(self.folder / "data", wait=True):
            return search_snapshot(opened, self._pool, self.folder, self.progress)

    def _cell_name(self, arm: Arm, seed: int) -> str:
        """Return the cell name of an arm: at the largest size, equal steps are equal epochs."""
        if arm.size == self._largest and "epochs" in self._equal:
            arm = arm.model_copy(update={"equal": "epochs"})
        return f"{arm.name}-seed{seed}"

    def _train(self, one: Experiment, name: str, place: Path) -> None:
        pool = self._pool.train
        source = pool.description.source
        drawn, _, _ = select_pool(pool.questions, one.data, one.seed, source)
        train = replace(
            pool, questions=drawn.questions, description=describe_split(source, drawn.questions, {})
        )
        snapshot = replace(self._pool, train=train)
        model = self.train(one, snapshot, place, self._evidence.get(one.retrieval.kind))
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
        if evidence := self._evidence.get(one.retrieval.kind):
            exam = self._search.add_to_exam(exam, evidence)
        self.evaluate(model, exam, label, place / "exam")
