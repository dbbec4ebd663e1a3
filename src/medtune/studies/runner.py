"""Run a study: prepare it, run its cells, write its page and its record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from medtune.core.experiment import DataConfig
from medtune.core.predictions_io import RECORD_FILE, Evaluation, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import AnswerModel, ModelIdentity
from medtune.core.records import Question, Record
from medtune.core.run_folder import lock_folder, write_record, write_text
from medtune.data.snapshot import Snapshot, prepare_snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.studies.grid import StudyCell, run_cells
from medtune.studies.grid_schema import GridState, WorkerCounts

RecordT = TypeVar("RecordT", bound=Record)
Settings = ParamSpec("Settings")


class Study(ABC, Generic[RecordT]):
    """A study with its settings and its data; the constructor refuses what cannot be studied.

    Attributes:
        name: Name in progress reports.
        page: File name of its page.
        record_file: File name of its record.
        cells_folder: Where its cells are, relative to its folder.
    """

    name: ClassVar[str]
    page: ClassVar[str]
    record_file: ClassVar[str] = RECORD_FILE
    cells_folder: ClassVar[str] = "cells"

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder
        self.progress = progress

    def list_cells(self) -> list[StudyCell]:
        """List the cells, which any worker or shard may run in any order."""
        return []

    def list_last_cells(self) -> list[StudyCell]:
        """List the cells that depend on the results of the others."""
        return []

    @abstractmethod
    def build_record(self, state: GridState) -> RecordT:
        """Build the record from the finished cells."""

    def render_page(self, record: RecordT) -> str:
        """Render the page with the `page` module beside the study."""
        module = import_module(type(self).__module__.removesuffix("study") + "page")
        return str(module.render(record))

    def cell_folder(self, *names: str) -> Path:
        """Return the folder of a cell, or one inside of it."""
        return self.folder.joinpath(self.cells_folder, *names)

    def read_cell(self, *names: str) -> Evaluation:
        """Read the evaluation of a finished cell."""
        return read_evaluation(self.cell_folder(*names))

    def prepare_data(self, data: DataConfig, seed: int) -> Snapshot:
        """Prepare the data in `data/`, or wait until another process has done it.

        Raises:
            MedtuneError: As `prepare_snapshot` does.
        """
        with lock_folder(self.folder / "data", wait=True):
            return prepare_snapshot(data, seed, self.folder / "data", self.progress)

    def evaluate(self, model: AnswerModel, exam: Exam, label: str, folder: Path) -> None:
        """Evaluate a model, unless the folder has that evaluation."""
        evaluate_or_reuse(model, exam, label, STRICT_PARSER, folder, self.progress)


@dataclass
class StudiedModel:
    """A model that a study asks, opened when a cell needs it."""

    find: Callable[[], ModelIdentity | None]
    """Returns its identity without its weights, where that is possible."""
    open: Callable[[], AnswerModel]

    @cached_property
    def model(self) -> AnswerModel:
        """Return the open model."""
        return self.open()

    @cached_property
    def identity(self) -> ModelIdentity:
        """Return its identity, without loading it if possible."""
        return self.find() or self.model


class ModelStudy(Study[RecordT]):
    """A study that evaluates one model in several ways; its cells are evaluations."""

    questions: Sequence[Question]
    """All questions, which give a fake model its answers."""
    style: PromptStyle | None = None
    """Prompt style that an adapter has to agree with; None checks nothing."""

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        model: str,
        adapter: Path | None,
        dtype: str,
        attention: str = "auto",
    ) -> None:
        super().__init__(folder, progress)

        def load() -> AnswerModel:
            return open_model(
                model,
                questions=self.questions,
                adapter=adapter,
                style=self.style,
                dtype=dtype,
                attention=attention,
                progress=progress,
            )

        self._studied = StudiedModel(
            partial(find_unloaded_model, model, adapter, dtype, progress), load
        )

    def evaluation_cell(self, name: str, exam: Exam, label: str) -> StudyCell:
        """Return the cell of one evaluation, which loads the model when it runs."""
        inputs = exam.hash_inputs(self._studied.identity, STRICT_PARSER.version)

        def work(folder: Path) -> None:
            self.evaluate(self._studied.model, exam, label, folder)

        return StudyCell(name, inputs, work)


def run_study(
    study: Callable[Concatenate[Path, Progress, Settings], Study[RecordT]],
    folder: Path,
    counts: WorkerCounts | None,
    progress: Progress,
    /,
    *args: Settings.args,
    **settings: Settings.kwargs,
) -> RecordT | GridState:
    """Run what is left of a study.

    Args:
        study: Class of the study.
        folder: Folder of the study.
        counts: Workers and shard of this call; None locks the folder for this process alone.
        progress: Progress reports.
        args: Settings of the study; workers get them pickled.
        settings: Settings by name.

    Returns:
        The record of the study; or the progress, while other processes have cells left.

    Raises:
        MedtuneError: A setting, the data, the model or the folder cannot be used, or a cell failed.
    """
    prepared = study(folder, progress, *args, **settings)
    # A worker prepares the study again: models and open files cannot be sent to it.
    again = partial(study, folder, NoProgress(), *args, **settings)
    lock = lock_folder(folder) if counts is None else nullcontext()
    counts = counts or WorkerCounts()
    with lock:
        worker = partial(_run_worker, again, counts)
        state = _run_cells(prepared, prepared.list_cells(), counts, worker)
        if not state.left and (last := prepared.list_last_cells()):
            after = _run_cells(prepared, last, WorkerCounts())
            state = after.model_copy(update={"cell_s": state.cell_s + after.cell_s})
        if state.left:
            return state
        record = prepared.build_record(state)
        write_text(folder / prepared.page, prepared.render_page(record))
        write_record(folder / prepared.record_file, record)
    return record


def _run_worker(prepare: Callable[[], Study[Any]], counts: WorkerCounts) -> None:
    study = prepare()
    _run_cells(study, study.list_cells(), replace(counts, workers=1))


def _run_cells(
    study: Study[Any],
    cells: Sequence[StudyCell],
    counts: WorkerCounts,
    worker: Callable[[], object] | None = None,
) -> GridState:
    folder = study.folder / study.cells_folder
    return run_cells(study.name, cells, folder, counts, study.progress, worker)
