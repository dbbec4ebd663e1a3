"""`medtune study ablation EXPERIMENT`: the seed notebook's mistakes, mended one at a time.

A ladder of trainings that differ in one thing each, all on the experiment's model and data, and
one examination for every rung: what was a mistake worth?  The base model and every training are
cells with a folder of their own.  Writes `record.json` and `ablation.html`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import EvaluationConfig, Experiment
from medtune.core.predictions_io import RECORD, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import PromptStyle, form_taught
from medtune.core.records import Method, TrainingRecord, content_hash
from medtune.core.run_folder import read_record, write_record
from medtune.data.load import describe, sized
from medtune.data.snapshot import Snapshot, SnapshotSplit
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.studies.ablation.analysis import ModelEvaluations, climb
from medtune.studies.ablation.llama3_template import Llama3Headers
from medtune.studies.ablation.page import write_ablation
from medtune.studies.ablation.schema import NOTEBOOK_SIZE, AblationRecord, trainings
from medtune.studies.grid import StudyCell, go_through, snapshot_for_all
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.training.finetune import RECORD as TRAINING
from medtune.workflows.finetune import adapt, base_model, trainable_source, tuned_model

PAGE = "ablation.html"
BASE = "base"
FOREIGN_SYSTEM = "You are a helpful AI medical assistant.\n"
"""What the notebook's evaluation said, where its training said something else."""


@dataclass(frozen=True, slots=True)
class AblationOptions:
    """What the command line may say."""

    experiment: Experiment
    """Its `data.train_size` is the last rung's."""
    few: int = NOTEBOOK_SIZE
    """Training questions of all rungs but the last."""


def ablation(
    options: AblationOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> AblationRecord | GridState:
    """Climb the ladder.

    Returns:
        The study; or how far it is, while other shards have work to do.

    Raises:
        DataError: There are no more than `few` training questions.
        MedtuneError: The data, the model or the folder cannot be used, or a training failed.
    """
    ladder = _Ladder.prepared(options, folder, progress)
    worker = partial(_worker, options, folder, replace(hands, workers=1))
    state = go_through("ablation", ladder.cells(), folder, hands, progress, worker)
    if state.left:
        return state
    asked, records = {}, {}
    for name in ladder.trainings:
        place = folder / "cells" / name
        asked[name] = _asked(place)
        found = read_record(place / TRAINING, TrainingRecord)
        assert found is not None, "a cell that is done has one"
        records[name] = found
    base = _asked(folder / "cells" / BASE)
    record = climb(
        options.experiment.name,
        base,
        asked,
        records,
        ladder.snapshot.train.description,
        options.few,
        contains,
        state.cell_s,
    )
    write_ablation(folder / PAGE, record)
    write_record(folder / RECORD, record)
    return record


def contains(said: str, truth: str) -> bool:
    """Tell whether the notebook would have counted an answer as right."""
    return notebook.match(said, truth) != "no_match"


def _worker(options: AblationOptions, folder: Path, hands: WorkerCounts) -> None:
    cells = _Ladder.prepared(options, folder, NoProgress()).cells()
    go_through("ablation", cells, folder, hands, NoProgress())


def _asked(place: Path) -> ModelEvaluations:
    foreign = place / "foreign"
    return ModelEvaluations(
        free=read_evaluation(place / "free"),
        likelihood=read_evaluation(place / "letter"),
        foreign=read_evaluation(foreign) if foreign.is_dir() else None,
    )


@dataclass(frozen=True)
class _Ladder:
    """The study's data and what is done with it."""

    trainings: dict[str, Experiment]
    source: ModelSource
    snapshot: Snapshot
    few: SnapshotSplit
    progress: Progress

    @classmethod
    def prepared(cls, options: AblationOptions, folder: Path, progress: Progress) -> _Ladder:
        """Prepare the data, or wait for another process to have done it."""
        experiment = options.experiment
        source = trainable_source(experiment, progress)
        snapshot = snapshot_for_all(experiment.data, experiment.seed, folder, progress)
        train = snapshot.train
        if len(train.questions) <= options.few:
            raise DataError(
                f"{len(train.questions)} training questions, {options.few} of which are the "
                "notebook's share",
                expected="more: the last rung is more data",
                fix="raise data.train_size, or lower --few",
            )
        name = train.description.source
        some = sized(train.questions, options.few, name, experiment.seed)
        few = replace(train, questions=some, description=describe(name, some, {}))
        return cls(trainings(experiment), source, snapshot, few, progress)

    def cells(self) -> list[StudyCell]:
        """List the base model's examination, and every training with its own."""
        cells: list[tuple[str, Callable[[Path], None], object]] = [(BASE, self._base, None)]
        for name, one in self.trainings.items():
            train = self.snapshot.train if name == "data" else self.few
            work = partial(self._train, name, one, replace(self.snapshot, train=train))
            cells.append((name, work, [one.model_dump(mode="json"), train.description.hash]))
        evaluated = self.snapshot.evaluated[0].description.hash
        model = [self.source.fingerprint, self._first.model.model_dump(mode="json")]
        return [
            StudyCell(name, content_hash([what, model, evaluated, STRICT.version]), work)
            for name, work, what in cells
        ]

    @property
    def _first(self) -> Experiment:
        return self.trainings["notebook"]

    def _base(self, place: Path) -> None:
        self._sit(base_model(self._first, self.source), BASE, self._first, place)

    def _train(self, name: str, one: Experiment, snapshot: Snapshot, place: Path) -> None:
        adapt(one, self.source, snapshot, place, self.progress)
        model = tuned_model(one, self.source, place)
        self._sit(model, name, one, place)
        if name == "notebook":
            style = one.prompt.model_copy(update={"system": FOREIGN_SYSTEM})
            foreign = model.read_by(Llama3Headers(model.encoder.tokenizer))
            exam = self._exam(one, "generate", style)
            examined(foreign, exam, name, STRICT, place / "foreign", self.progress)

    def _sit(self, model: LocalModel, label: str, one: Experiment, place: Path) -> None:
        methods: dict[str, Method] = {"free": "generate", "letter": "letter"}
        for name, method in methods.items():
            exam = self._exam(one, method, one.prompt)
            examined(model, exam, label, STRICT, place / name, self.progress)

    def _exam(self, one: Experiment, method: Method, style: PromptStyle) -> Exam:
        split = self.snapshot.evaluated[0]
        return Exam.planned(
            EvaluationConfig(options_only=0, max_new_tokens=one.evaluation.max_new_tokens),
            method,
            split.questions,
            split.description,
            style,
            form_taught(one.training.target),
            (),
        )
