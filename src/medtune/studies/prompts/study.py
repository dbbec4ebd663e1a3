"""`medtune study prompts EXPERIMENT`: system texts, option lines, instructions, worked examples.

Every wording is examined on the calibration split; only the best one and the experiment's own are
examined on the reported split, which has no say in the choice.  Writes `record.json` and
`prompts.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from medtune.analysis.analyze import Evaluation
from medtune.core.errors import DataError, InputError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import RECORD, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import form_of, form_taught
from medtune.core.protocols import AnswerModel
from medtune.core.run_folder import write_record, write_text
from medtune.data.snapshot import Snapshot, SnapshotSplit
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.open_model import open_model
from medtune.reports.templating import render
from medtune.studies.grid import StudyCell, go_through, snapshot_for_all
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.prompts.analysis import best_of, report_choice
from medtune.studies.prompts.schema import SHOTS, PromptStudyRecord, PromptVariant, variants

PAGE = "prompts.html"


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What the command line may say."""

    experiment: Experiment
    adapter: Path | None = None
    """Of a model that was tuned; its own prompt is then only one of many."""
    shots: tuple[int, ...] = SHOTS


def prompts(
    options: PromptOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> PromptStudyRecord | GridState:
    """Choose a prompt on the calibration split, and report on the other.

    Returns:
        The study; or how far it is, while other shards have work to do.

    Raises:
        InputError: There is no calibration split.
        MedtuneError: The data, the model or the folder cannot be used.
    """
    study = _Study.prepared(options, folder, progress)
    worker = partial(_worker, options, folder, replace(hands, workers=1))
    tried, cells = study.variants, study.cells()
    state = go_through("prompts", cells, folder, hands, progress, worker)
    if state.left:
        return state
    found = {v: _read(folder, cell) for v, cell in zip(tried, cells, strict=True)}
    reported = study.snapshot.evaluated[0]
    own, best = (study.cell(v, reported, "reported") for v in (tried[0], best_of(found)))
    last = list({cell.name: cell for cell in (own, best)}.values())
    after = go_through("prompts", last, folder, WorkerCounts(), progress)
    record = report_choice(
        options.experiment.name,
        found,
        _read(folder, own),
        _read(folder, best),
        state.cell_s + after.cell_s,
    )
    write_text(folder / PAGE, render("studies/prompts.html", study=record))
    write_record(folder / RECORD, record)
    return record


def _worker(options: PromptOptions, folder: Path, hands: WorkerCounts) -> None:
    cells = _Study.prepared(options, folder, NoProgress()).cells()
    go_through("prompts", cells, folder, hands, NoProgress())


def _read(folder: Path, cell: StudyCell) -> Evaluation:
    return read_evaluation(folder / "cells" / cell.name)


@dataclass(frozen=True)
class _Study:
    """The study's questions and model."""

    options: PromptOptions
    snapshot: Snapshot
    calibration: SnapshotSplit
    progress: Progress

    @classmethod
    def prepared(cls, options: PromptOptions, folder: Path, progress: Progress) -> _Study:
        """Prepare the data, or wait for another process to have done it."""
        experiment = options.experiment
        if not experiment.data.calibration_size:
            raise InputError(
                "data.calibration_size is 0: there is nothing to choose a prompt on",
                expected="questions set apart, which are never reported on",
                fix="--set data.calibration_size=500",
            )
        snapshot = snapshot_for_all(experiment.data, experiment.seed, folder, progress)
        assert snapshot.calibration is not None, "it was asked for"
        if (most := max(options.shots)) > len(snapshot.train.questions):
            raise DataError(
                f"{most} worked examples, the train split has {len(snapshot.train.questions)}"
            )
        return cls(options, snapshot, snapshot.calibration, progress)

    @cached_property
    def variants(self) -> list[PromptVariant]:
        """List the prompts, the experiment's own first.

        What a method does not show is not varied: texts scored without a list of options have no
        option lines.
        """
        experiment = self.options.experiment
        form = form_of(experiment.evaluation.methods[0], form_taught(experiment.training.target))
        first = self.calibration.questions[0]
        distinct: dict[object, PromptVariant] = {}
        for variant in variants(experiment.prompt, self.options.shots):
            messages = variant.style(experiment.prompt).messages(first, form)
            distinct.setdefault((messages, variant.shots), variant)
        return list(distinct.values())

    def cells(self) -> list[StudyCell]:
        """List the examinations among which is chosen."""
        return [self.cell(variant, self.calibration, "calibration") for variant in self.variants]

    def cell(self, variant: PromptVariant, split: SnapshotSplit, role: str) -> StudyCell:
        """Plan one examination."""
        experiment = self.options.experiment
        exam = Exam.planned(
            experiment.evaluation.model_copy(update={"shots": variant.shots, "options_only": 0}),
            experiment.evaluation.methods[0],
            split.questions,
            split.description,
            variant.style(experiment.prompt),
            form_taught(experiment.training.target),
            self.snapshot.train.questions,
        )
        number = self.variants.index(variant)
        label = "own prompt" if not number else f"prompt {number}"
        work = partial(self._sit, exam, label)
        return StudyCell(f"{role}-{number:02d}", exam.inputs(self._model, STRICT.version), work)

    def _sit(self, exam: Exam, label: str, place: Path) -> None:
        examined(self._model, exam, label, STRICT, place, self.progress)

    @cached_property
    def _model(self) -> AnswerModel:
        experiment = self.options.experiment
        every = [*self.calibration.questions, *self.snapshot.evaluated[0].questions]
        return open_model(
            experiment.model.source,
            questions=every,
            adapter=self.options.adapter,
            dtype=experiment.model.dtype,
            attention=experiment.model.attention,
            progress=self.progress,
        )
