"""Run the ablation (`medtune study ablation EXPERIMENT`): fix the notebook's bugs one at a time.

A ladder of trainings on the experiment's model and data, each with one more bug fixed, and one
evaluation for every rung: how much accuracy did a bug cost?  The base model and every training are
cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.experiment import EvaluationConfig, Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle, form_for_target
from medtune.core.records import Method, content_hash
from medtune.data.load import describe_split, limit_size
from medtune.data.snapshot import Snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing import notebook
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.models.local.local_model import LocalModel
from medtune.studies.ablation.analysis import ModelEvaluations, build_ablation_record
from medtune.studies.ablation.llama3_template import Llama3Headers
from medtune.studies.ablation.schema import NOTEBOOK_SIZE, AblationRecord, list_ablation_trainings
from medtune.studies.grid import StudyCell
from medtune.studies.grid_schema import GridState
from medtune.studies.training_study import BASE, TrainingStudy

FOREIGN_SYSTEM = "You are a helpful AI medical assistant.\n"
"""System message of the notebook's evaluation; its training used another one."""


class AblationStudy(TrainingStudy[AblationRecord]):
    """The ablation study of an experiment.

    Args:
        experiment: The experiment; its `data.train_size` applies to the last rung.
        few: Number of training questions of all rungs except the last.

    Raises:
        DataError: There are not more than `few` training questions.
    """

    name = "ablation"
    page = "ablation.html"

    def __init__(
        self, folder: Path, progress: Progress, experiment: Experiment, few: int = NOTEBOOK_SIZE
    ) -> None:
        super().__init__(folder, progress, experiment)
        self._snapshot = self.prepare_data(experiment.data, experiment.seed)
        train = self._snapshot.train
        if len(train.questions) <= few:
            raise DataError(
                f"{len(train.questions)} training questions, {few} of which are the notebook's "
                "share",
                expected="more: the last rung is more data",
                fix="raise data.train_size, or lower --few",
            )
        source = train.description.source
        some = limit_size(train.questions, few, source, experiment.seed)
        self._few = replace(train, questions=some, description=describe_split(source, some, {}))
        self._trainings = list_ablation_trainings(experiment)

    def list_cells(self) -> list[StudyCell]:
        """List the evaluation of the base model, and every training with its evaluations."""
        cells: list[tuple[str, Callable[[Path], None], object]] = [
            (BASE, self._evaluate_base, None)
        ]
        for name, one in self._trainings.items():
            train = self._snapshot.train if name == "data" else self._few
            work = partial(self._train, name, one, replace(self._snapshot, train=train))
            cells.append((name, work, [one.model_dump(mode="json"), train.description.hash]))
        evaluated = self._snapshot.evaluated[0].description.hash
        model = [self.source.fingerprint, self.experiment.model.model_dump(mode="json")]
        return [
            StudyCell(name, content_hash([what, model, evaluated, STRICT_PARSER.version]), work)
            for name, work, what in cells
        ]

    def build_record(self, state: GridState) -> AblationRecord:
        """Compare every rung with the one before."""
        asked = {name: self._read_evaluations(name) for name in (BASE, *self._trainings)}
        return build_ablation_record(
            self.experiment.name,
            asked.pop(BASE),
            asked,
            {name: self.read_training(name) for name in self._trainings},
            self._snapshot.train.description,
            self._few.description.n,
            matches_like_notebook,
            state.cell_s,
        )

    def _evaluate_base(self, place: Path) -> None:
        self._evaluate(self.load_base(), BASE, self._trainings["notebook"], place)

    def _train(self, name: str, one: Experiment, snapshot: Snapshot, place: Path) -> None:
        model = self.train(one, snapshot, place)
        self._evaluate(model, name, one, place)
        if name == "notebook":
            style = one.prompt.model_copy(update={"system": FOREIGN_SYSTEM})
            foreign = model.with_encoder(Llama3Headers(model.encoder.tokenizer))
            self.evaluate(foreign, self._exam(one, "generate", style), name, place / "foreign")

    def _evaluate(self, model: LocalModel, label: str, one: Experiment, place: Path) -> None:
        methods: dict[str, Method] = {"free": "generate", "letter": "letter"}
        for name, method in methods.items():
            self.evaluate(model, self._exam(one, method, one.prompt), label, place / name)

    def _exam(self, one: Experiment, method: Method, style: PromptStyle) -> Exam:
        split = self._snapshot.evaluated[0]
        return Exam.from_config(
            EvaluationConfig(options_only=0, max_new_tokens=one.evaluation.max_new_tokens),
            method,
            split.questions,
            split.description,
            style,
            form_for_target(one.training.target),
            (),
        )

    def _read_evaluations(self, name: str) -> ModelEvaluations:
        return ModelEvaluations(
            free=self.read_cell(name, "free"),
            likelihood=self.read_cell(name, "letter"),
            foreign=self.read_cell(name, "foreign") if name == "notebook" else None,
        )


def matches_like_notebook(said: str, truth: str) -> bool:
    """Return whether the notebook would have counted an answer as right."""
    return notebook.match_output(said, truth) != "no_match"
