"""Run the prompt study (`medtune study prompts EXPERIMENT`): wordings and worked examples.

Every prompt is evaluated on the calibration split; only the best one and the experiment's own are
evaluated on the reported split, which does not influence the choice.  Writes `record.json` and
`prompts.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from medtune.analysis.analyze import RecordedEvaluation
from medtune.core.errors import DataError, InputError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import RECORD_FILE, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import form_for_method, form_for_target
from medtune.core.protocols import AnswerModel
from medtune.core.run_folder import write_record, write_text
from medtune.data.snapshot import Snapshot, SnapshotSplit
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.open_model import open_model
from medtune.reports.templating import render_page
from medtune.studies.grid import StudyCell, prepare_shared_snapshot, run_cells
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.prompts.analysis import build_prompt_study_record, find_most_accurate
from medtune.studies.prompts.schema import SHOTS, PromptStudyRecord, PromptVariant, list_variants

PAGE = "prompts.html"


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Options of `medtune study prompts`."""

    experiment: Experiment
    adapter: Path | None = None
    """Adapter of a tuned model; its own prompt is then only one of many."""
    shots: tuple[int, ...] = SHOTS


def run_prompts(
    options: PromptOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> PromptStudyRecord | GridState:
    """Choose a prompt on the calibration split, and evaluate it on the reported split.

    Returns:
        The study record; or the progress, while other shards have cells left.

    Raises:
        InputError: There is no calibration split.
        MedtuneError: The data, the model or the folder cannot be used.
    """
    study = _Study.from_options(options, folder, progress)
    worker = partial(_run_worker, options, folder, replace(hands, workers=1))
    tried, cells = study.variants, study.list_cells()
    state = run_cells("prompts", cells, folder, hands, progress, worker)
    if state.left:
        return state
    found = {v: _read_cell(folder, cell) for v, cell in zip(tried, cells, strict=True)}
    reported = study.snapshot.evaluated[0]
    own, best = (
        study.build_cell(v, reported, "reported") for v in (tried[0], find_most_accurate(found))
    )
    last = list({cell.name: cell for cell in (own, best)}.values())
    after = run_cells("prompts", last, folder, WorkerCounts(), progress)
    record = build_prompt_study_record(
        options.experiment.name,
        found,
        _read_cell(folder, own),
        _read_cell(folder, best),
        state.cell_s + after.cell_s,
    )
    write_text(folder / PAGE, render_page("studies/prompts.html", study=record))
    write_record(folder / RECORD_FILE, record)
    return record


def _run_worker(options: PromptOptions, folder: Path, hands: WorkerCounts) -> None:
    cells = _Study.from_options(options, folder, NoProgress()).list_cells()
    run_cells("prompts", cells, folder, hands, NoProgress())


def _read_cell(folder: Path, cell: StudyCell) -> RecordedEvaluation:
    return read_evaluation(folder / "cells" / cell.name)


@dataclass(frozen=True)
class _Study:
    """The study's questions, model and cells."""

    options: PromptOptions
    snapshot: Snapshot
    calibration: SnapshotSplit
    progress: Progress

    @classmethod
    def from_options(cls, options: PromptOptions, folder: Path, progress: Progress) -> _Study:
        """Prepare the data, or wait until another process has done it."""
        experiment = options.experiment
        if not experiment.data.calibration_size:
            raise InputError(
                "data.calibration_size is 0: there is nothing to choose a prompt on",
                expected="a calibration split, which is never reported on",
                fix="--set data.calibration_size=500",
            )
        snapshot = prepare_shared_snapshot(experiment.data, experiment.seed, folder, progress)
        assert snapshot.calibration is not None, "calibration_size is not 0"
        if (most := max(options.shots)) > len(snapshot.train.questions):
            raise DataError(
                f"{most} worked examples, the train split has {len(snapshot.train.questions)}"
            )
        return cls(options, snapshot, snapshot.calibration, progress)

    @cached_property
    def variants(self) -> list[PromptVariant]:
        """Prompt variants, the experiment's own first.

        Parts that a method does not show are not varied: prompts without a list of options have no
        option lines.
        """
        experiment = self.options.experiment
        form = form_for_method(
            experiment.evaluation.methods[0], form_for_target(experiment.training.target)
        )
        first = self.calibration.questions[0]
        distinct: dict[object, PromptVariant] = {}
        for variant in list_variants(experiment.prompt, self.options.shots):
            messages = variant.apply_to_style(experiment.prompt).build_messages(first, form)
            distinct.setdefault((messages, variant.shots), variant)
        return list(distinct.values())

    def list_cells(self) -> list[StudyCell]:
        """List the evaluations on the calibration split."""
        return [
            self.build_cell(variant, self.calibration, "calibration") for variant in self.variants
        ]

    def build_cell(self, variant: PromptVariant, split: SnapshotSplit, role: str) -> StudyCell:
        """Build the cell of one evaluation."""
        experiment = self.options.experiment
        exam = Exam.from_config(
            experiment.evaluation.model_copy(update={"shots": variant.shots, "options_only": 0}),
            experiment.evaluation.methods[0],
            split.questions,
            split.description,
            variant.apply_to_style(experiment.prompt),
            form_for_target(experiment.training.target),
            self.snapshot.train.questions,
        )
        number = self.variants.index(variant)
        label = "own prompt" if not number else f"prompt {number}"
        work = partial(self._evaluate, exam, label)
        return StudyCell(
            f"{role}-{number:02d}", exam.hash_inputs(self._model, STRICT_PARSER.version), work
        )

    def _evaluate(self, exam: Exam, label: str, place: Path) -> None:
        evaluate_or_reuse(self._model, exam, label, STRICT_PARSER, place, self.progress)

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
