"""Run the ablation (`medtune study ablation EXPERIMENT`): fix the notebook's bugs one at a time.

A ladder of trainings on the experiment's model and data, each with one more bug fixed, and one
evaluation for every rung: how much accuracy did a bug cost?  The base model and every training are
cells with their own folders.  Writes `record.json` and `ablation.html`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import EvaluationConfig, Experiment
from medtune.core.predictions_io import RECORD_FILE, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import PromptStyle, form_for_target
from medtune.core.records import Method, TrainingRecord, content_hash
from medtune.core.run_folder import read_record, write_record
from medtune.data.load import describe_split, limit_size
from medtune.data.snapshot import Snapshot, SnapshotSplit
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.studies.ablation.analysis import ModelEvaluations, build_ablation_record
from medtune.studies.ablation.llama3_template import Llama3Headers
from medtune.studies.ablation.page import write_ablation
from medtune.studies.ablation.schema import NOTEBOOK_SIZE, AblationRecord, list_ablation_trainings
from medtune.studies.grid import StudyCell, prepare_shared_snapshot, run_cells
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.training.finetune import TRAINING_RECORD_FILE as TRAINING
from medtune.workflows.finetune import (
    finetune_cached,
    load_base_model,
    load_tuned_model,
    resolve_trainable,
)

PAGE = "ablation.html"
BASE = "base"
FOREIGN_SYSTEM = "You are a helpful AI medical assistant.\n"
"""System message of the notebook's evaluation; its training used another one."""


@dataclass(frozen=True, slots=True)
class AblationOptions:
    """Options of `medtune study ablation`."""

    experiment: Experiment
    """The experiment; its `data.train_size` applies to the last rung."""
    few: int = NOTEBOOK_SIZE
    """Number of training questions of all rungs except the last."""


def run_ablation(
    options: AblationOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> AblationRecord | GridState:
    """Run the ablation study.

    Returns:
        The study record; or the progress, while other shards have cells left.

    Raises:
        DataError: There are not more than `few` training questions.
        MedtuneError: The data, the model or the folder cannot be used, or a training failed.
    """
    ladder = _Ladder.from_options(options, folder, progress)
    worker = partial(_run_worker, options, folder, replace(hands, workers=1))
    state = run_cells("ablation", ladder.list_cells(), folder, hands, progress, worker)
    if state.left:
        return state
    asked, records = {}, {}
    for name in ladder.trainings:
        place = folder / "cells" / name
        asked[name] = _read_evaluations(place)
        found = read_record(place / TRAINING, TrainingRecord)
        assert found is not None, "a finished cell has an evaluation"
        records[name] = found
    base = _read_evaluations(folder / "cells" / BASE)
    record = build_ablation_record(
        options.experiment.name,
        base,
        asked,
        records,
        ladder.snapshot.train.description,
        options.few,
        matches_like_notebook,
        state.cell_s,
    )
    write_ablation(folder / PAGE, record)
    write_record(folder / RECORD_FILE, record)
    return record


def matches_like_notebook(said: str, truth: str) -> bool:
    """Return whether the notebook would have counted an answer as right."""
    return notebook.match_output(said, truth) != "no_match"


def _run_worker(options: AblationOptions, folder: Path, hands: WorkerCounts) -> None:
    cells = _Ladder.from_options(options, folder, NoProgress()).list_cells()
    run_cells("ablation", cells, folder, hands, NoProgress())


def _read_evaluations(place: Path) -> ModelEvaluations:
    foreign = place / "foreign"
    return ModelEvaluations(
        free=read_evaluation(place / "free"),
        likelihood=read_evaluation(place / "letter"),
        foreign=read_evaluation(foreign) if foreign.is_dir() else None,
    )


@dataclass(frozen=True)
class _Ladder:
    """The study's data and its cells."""

    trainings: dict[str, Experiment]
    source: ModelSource
    snapshot: Snapshot
    few: SnapshotSplit
    progress: Progress

    @classmethod
    def from_options(cls, options: AblationOptions, folder: Path, progress: Progress) -> _Ladder:
        """Prepare the data, or wait until another process has done it."""
        experiment = options.experiment
        source = resolve_trainable(experiment, progress)
        snapshot = prepare_shared_snapshot(experiment.data, experiment.seed, folder, progress)
        train = snapshot.train
        if len(train.questions) <= options.few:
            raise DataError(
                f"{len(train.questions)} training questions, {options.few} of which are the "
                "notebook's share",
                expected="more: the last rung is more data",
                fix="raise data.train_size, or lower --few",
            )
        name = train.description.source
        some = limit_size(train.questions, options.few, name, experiment.seed)
        few = replace(train, questions=some, description=describe_split(name, some, {}))
        return cls(list_ablation_trainings(experiment), source, snapshot, few, progress)

    def list_cells(self) -> list[StudyCell]:
        """List the evaluation of the base model, and every training with its evaluations."""
        cells: list[tuple[str, Callable[[Path], None], object]] = [
            (BASE, self._evaluate_base, None)
        ]
        for name, one in self.trainings.items():
            train = self.snapshot.train if name == "data" else self.few
            work = partial(self._train, name, one, replace(self.snapshot, train=train))
            cells.append((name, work, [one.model_dump(mode="json"), train.description.hash]))
        evaluated = self.snapshot.evaluated[0].description.hash
        model = [self.source.fingerprint, self._first_training.model.model_dump(mode="json")]
        return [
            StudyCell(name, content_hash([what, model, evaluated, STRICT_PARSER.version]), work)
            for name, work, what in cells
        ]

    @property
    def _first_training(self) -> Experiment:
        return self.trainings["notebook"]

    def _evaluate_base(self, place: Path) -> None:
        self._evaluate(
            load_base_model(self._first_training, self.source), BASE, self._first_training, place
        )

    def _train(self, name: str, one: Experiment, snapshot: Snapshot, place: Path) -> None:
        finetune_cached(one, self.source, snapshot, place, self.progress)
        model = load_tuned_model(one, self.source, place)
        self._evaluate(model, name, one, place)
        if name == "notebook":
            style = one.prompt.model_copy(update={"system": FOREIGN_SYSTEM})
            foreign = model.with_encoder(Llama3Headers(model.encoder.tokenizer))
            exam = self._exam(one, "generate", style)
            evaluate_or_reuse(foreign, exam, name, STRICT_PARSER, place / "foreign", self.progress)

    def _evaluate(self, model: LocalModel, label: str, one: Experiment, place: Path) -> None:
        methods: dict[str, Method] = {"free": "generate", "letter": "letter"}
        for name, method in methods.items():
            exam = self._exam(one, method, one.prompt)
            evaluate_or_reuse(model, exam, label, STRICT_PARSER, place / name, self.progress)

    def _exam(self, one: Experiment, method: Method, style: PromptStyle) -> Exam:
        split = self.snapshot.evaluated[0]
        return Exam.from_config(
            EvaluationConfig(options_only=0, max_new_tokens=one.evaluation.max_new_tokens),
            method,
            split.questions,
            split.description,
            style,
            form_for_target(one.training.target),
            (),
        )
